// Package cdn makes CloudFront forget paths. It knows nothing of pictures.
package cdn

import (
	"context"
	"crypto/rand"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudfront"
	"github.com/aws/aws-sdk-go-v2/service/cloudfront/types"
)

// Distribution is a CloudFront distribution.
type Distribution struct {
	client *cloudfront.Client
	id     func(context.Context) (string, error)
}

// New returns the distribution that id names, which is asked for on the first invalidation. endpoint is empty for AWS itself.
func New(cfg aws.Config, endpoint string, id func(context.Context) (string, error)) *Distribution {
	client := cloudfront.NewFromConfig(cfg, func(o *cloudfront.Options) {
		if endpoint != "" {
			o.BaseEndpoint = &endpoint
		}
	})
	return &Distribution{client, id}
}

// Forget asks that copies of an object be dropped everywhere. It is done a little later, seconds as a rule. Asking again is harmless;
// 1,000 a month are free.
func (d *Distribution) Forget(ctx context.Context, key string) error {
	id, err := d.id(ctx)
	if err != nil {
		return err
	}
	_, err = d.client.CreateInvalidation(ctx, &cloudfront.CreateInvalidationInput{
		DistributionId: &id,
		InvalidationBatch: &types.InvalidationBatch{
			CallerReference: aws.String(rand.Text()), // the SDK's retries carry it, too: they are one request
			Paths:           &types.Paths{Quantity: aws.Int32(1), Items: []string{"/" + key}},
		},
	})
	if err != nil {
		return fmt.Errorf("invalidate /%s in %s: %w", key, id, err)
	}
	return nil
}
