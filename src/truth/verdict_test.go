package truth

import (
	"testing"
	"time"
)

func FuzzDecodeVerdict(f *testing.F) {
	f.Add(Verdict{State: Live, seq: 3, Weight: 1500}.encode())
	f.Add(Verdict{State: Blocked, seq: 3, When: time.UnixMilli(5)}.encode())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, err := decodeVerdict(b); err == nil {
			if again, err := decodeVerdict(v.encode()); err != nil || again != v {
				t.Fatalf("%+v read back as %+v, %v", v, again, err)
			}
		}
	})
}
