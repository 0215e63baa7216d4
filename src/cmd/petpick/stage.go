package main

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/spf13/cobra"

	"petpick/src/stack"
)

// stageFlag makes a command work on a deployed stack.
func stageFlag(cmd *cobra.Command, stage *string) {
	cmd.Flags().StringVar(stage, "stage", "", "work on the stack deployed under this name, such as dev; credentials and region as for the aws command")
}

// findStage returns where a deployed stack is, and the configuration that reaches it.
func findStage(ctx context.Context, stage string) (aws.Config, stack.Stack, error) {
	cfg, err := awsconfig.LoadDefaultConfig(ctx, awsconfig.WithHTTPClient(httpClient()), awsconfig.WithRetryer(func() aws.Retryer {
		// A person waits: rather throttled for a while than told to try again.
		return retry.AddWithMaxAttempts(retry.NewStandard(), 8)
	}))
	if err != nil {
		return aws.Config{}, stack.Stack{}, err
	}
	if cfg.Region == "" {
		return aws.Config{}, stack.Stack{}, fmt.Errorf("--stage %s: no region: set AWS_REGION, or one in the profile", stage)
	}
	found, err := stack.Find(ctx, cfg, stage)
	if err != nil {
		return aws.Config{}, stack.Stack{}, fmt.Errorf("--stage %s: %w", stage, err)
	}
	cfg.Region = found.Region
	return cfg, found, nil
}
