// Package stack finds a deployed petpick by its stage's name: the stack writes one SSM parameter that says where everything is.
package stack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
)

// Stack is a deployment, as the parameter of the template's resource Stack says.
type Stack struct {
	Stage        string `json:"stage"`
	Region       string `json:"region"`
	URL          string `json:"url"`     // without trailing slash
	APIURL       string `json:"api_url"` // of the API behind it, likewise
	PhotosBucket string `json:"photos_bucket"`
	IndexBucket  string `json:"index_bucket"`
	Distribution string `json:"distribution"` // its id
	TokensPath   string `json:"tokens_path"`
}

// ErrNotFound: nobody has deployed the stage, in this account and region.
var ErrNotFound = errors.New("there is no such deployment")

var stageName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,15}$`) // the template's AllowedPattern of Stage

// Find reads where the stage is.
func Find(ctx context.Context, cfg aws.Config, stage string) (Stack, error) {
	if !stageName.MatchString(stage) {
		return Stack{}, fmt.Errorf("%q cannot be the name of a stage", stage)
	}
	name := "/petpick/" + stage + "/stack"
	out, err := ssm.NewFromConfig(cfg).GetParameter(ctx, &ssm.GetParameterInput{Name: &name})
	var missing *types.ParameterNotFound
	if errors.As(err, &missing) {
		return Stack{}, fmt.Errorf("SSM parameter %s in %s: %w", name, cfg.Region, ErrNotFound)
	}
	if err != nil {
		return Stack{}, fmt.Errorf("SSM parameter %s: %w", name, err)
	}
	var s Stack
	if err := json.Unmarshal([]byte(aws.ToString(out.Parameter.Value)), &s); err != nil {
		return Stack{}, fmt.Errorf("SSM parameter %s: %w", name, err)
	}
	for field, value := range map[string]string{
		"region": s.Region, "url": s.URL, "api_url": s.APIURL, "photos_bucket": s.PhotosBucket, "index_bucket": s.IndexBucket,
		"distribution": s.Distribution, "tokens_path": s.TokensPath,
	} {
		if value == "" {
			return Stack{}, fmt.Errorf("SSM parameter %s has no %s: another version of the stack wrote it", name, field)
		}
	}
	if s.Stage != stage {
		return Stack{}, fmt.Errorf("SSM parameter %s is that of stage %q", name, s.Stage)
	}
	return s, nil
}
