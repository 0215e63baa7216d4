// Package ssmtokens keeps tokens in SSM: a String parameter each, `<path>/<id>`, for PutParameter has no condition but "not there yet", and
// in one parameter for all of them two people at once would lose one of theirs.
package ssmtokens

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"petpick/src/access"
)

// Store is the tokens below a path. It is safe for concurrent use.
type Store struct {
	client *ssm.Client
	path   string
}

// New returns the tokens below a path such as /petpick/dev/tokens.
func New(cfg aws.Config, path string) *Store {
	return &Store{ssm.NewFromConfig(cfg), strings.TrimRight(path, "/")}
}

// List returns all tokens: a call for each ten, the most that SSM gives at a time.
func (s *Store) List(ctx context.Context) (tokens []access.Token, faults []error, err error) {
	pages := ssm.NewGetParametersByPathPaginator(s.client, &ssm.GetParametersByPathInput{Path: &s.path, MaxResults: aws.Int32(10)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, nil, fmt.Errorf("SSM parameters below %s: %w", s.path, err)
		}
		for _, p := range page.Parameters {
			name := aws.ToString(p.Name)
			t, err := access.Decode([]byte(aws.ToString(p.Value)), strings.TrimPrefix(name, s.path+"/"))
			if err != nil {
				faults = append(faults, fmt.Errorf("SSM parameter %s: %w", name, err))
				continue
			}
			tokens = append(tokens, t)
		}
	}
	return tokens, faults, nil
}

// Create fails with access.ErrExists when the id is taken.
func (s *Store) Create(ctx context.Context, t access.Token) error {
	data, err := t.Encode()
	if err != nil {
		return err
	}
	name, value := s.path+"/"+t.ID, string(data)
	_, err = s.client.PutParameter(ctx, &ssm.PutParameterInput{
		Name: &name, Value: &value, Type: types.ParameterTypeString, Overwrite: aws.Bool(false), Description: aws.String("petpick: what is kept of a token"),
	})
	var exists *types.ParameterAlreadyExists
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &exists):
		return fmt.Errorf("SSM parameter %s: %w", name, err)
	}
	// The SDK repeats a call whose answer was lost, and then finds what it wrote itself.
	out, err := s.client.GetParameter(ctx, &ssm.GetParameterInput{Name: &name})
	if err == nil && aws.ToString(out.Parameter.Value) == value {
		return nil
	}
	return fmt.Errorf("SSM parameter %s: %w", name, errors.Join(access.ErrExists, err))
}

// Delete fails with access.ErrNotFound when there is none.
func (s *Store) Delete(ctx context.Context, id string) error {
	if !access.IsID(id) { // anything else would be another parameter's name
		return fmt.Errorf("%q is not a token's id: %w", id, access.ErrNotFound)
	}
	name := s.path + "/" + id
	_, err := s.client.DeleteParameter(ctx, &ssm.DeleteParameterInput{Name: &name})
	var missing *types.ParameterNotFound
	if errors.As(err, &missing) {
		return fmt.Errorf("SSM parameter %s: %w", name, access.ErrNotFound)
	}
	if err != nil {
		return fmt.Errorf("SSM parameter %s: %w", name, err)
	}
	return nil
}
