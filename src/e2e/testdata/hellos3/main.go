// Command hellos3 is a hello-world with an S3 client.
package main

import (
	"context"
	"os"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

func main() {
	cfg, err := config.LoadDefaultConfig(context.Background())
	if err != nil {
		os.Exit(1)
	}
	client := s3.NewFromConfig(cfg)
	lambda.Start(func(ctx context.Context) (string, error) {
		_, err := client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: new(os.Getenv("BUCKET"))})
		return "hello", err
	})
}
