package blob_test

import (
	"testing"

	"petpick/src/blob"
	"petpick/src/blob/blobtest"
)

func TestMemoryContract(t *testing.T) {
	blobtest.Contract(t, func(*testing.T) blob.Store { return blob.NewMemory(nil) })
}
