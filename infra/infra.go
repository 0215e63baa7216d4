// Package infra carries the CloudFormation template inside the program, so that `petpick serve` runs what is deployed.
package infra

import _ "embed"

// Template is template.yaml.
//
//go:embed template.yaml
var Template []byte
