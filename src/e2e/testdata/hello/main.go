// Command hello is the least that a function of Go can be: what the start of others is measured against.
package main

import (
	"context"

	"github.com/aws/aws-lambda-go/lambda"
)

func main() { lambda.Start(func(context.Context) (string, error) { return "hello", nil }) }
