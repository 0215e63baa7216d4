package e2e_test

import (
	"strings"

	"petpick/infra"
)

// call is what a function did, in IAM's words.
type call struct{ action, resource string }

// unused lists what a role allows and no call made use of.
func unused(policy infra.Policy, calls map[call]bool) []infra.Statement {
	return policy.Unused(func(s infra.Statement) bool {
		if service, _, _ := strings.Cut(s.Actions[0], ":"); service == "logs" || service == "xray" {
			return true // Lambda's own calls, in the function's name
		}
		for c := range calls {
			if s.Covers(c.action, c.resource) {
				return true
			}
		}
		return false
	})
}
