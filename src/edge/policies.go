package edge

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// cachePolicy is how long answers are kept, and what tells two requests apart.
type cachePolicy struct {
	minTTL, defaultTTL, maxTTL time.Duration
	query                      selection
	headers                    []string
}

// forwardPolicy is what an origin gets to see of a request.
type forwardPolicy struct {
	headers, queries, cookies selection
}

// selection is one of CloudFront's behaviours: none, whitelist, allExcept, all (allViewer).
type selection struct {
	behavior string
	names    []string
}

func (s selection) has(name string) bool {
	listed := slices.ContainsFunc(s.names, func(n string) bool { return strings.EqualFold(n, name) })
	switch s.behavior {
	case "all", "allViewer", "allViewerAndWhitelistCloudFront":
		return true
	case "whitelist":
		return listed
	case "allExcept":
		return !listed
	}
	return false
}

// AWS's managed policies, by their public IDs.
var (
	managedCache = map[string]cachePolicy{
		"4135ea2d-6df8-44a3-9df3-4b5a84be39ad": {}, // CachingDisabled
		"b2884449-e4de-46a7-ac36-70bc7f1ddd6d": { // CachingOptimizedForUncompressedObjects
			minTTL: time.Second, defaultTTL: 24 * time.Hour, maxTTL: 365 * 24 * time.Hour,
		},
		"658327ea-f89d-4fab-a63d-7e88639e58f6": { // CachingOptimized
			minTTL: time.Second, defaultTTL: 24 * time.Hour, maxTTL: 365 * 24 * time.Hour, headers: []string{"Accept-Encoding"},
		},
	}
	managedForward = map[string]forwardPolicy{
		"b689b0a8-53d0-40ab-baf2-68738e2966ac": { // AllViewerExceptHostHeader
			headers: selection{"allExcept", []string{"Host"}}, queries: selection{behavior: "all"}, cookies: selection{behavior: "all"},
		},
		"216adef6-5c7f-47e4-b989-5492eafa07d3": { // AllViewer
			headers: selection{behavior: "allViewer"}, queries: selection{behavior: "all"}, cookies: selection{behavior: "all"},
		},
	}
)

// key says whether the request may be answered from the cache, and by which entry.
func (p cachePolicy) key(r *http.Request) (string, bool) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return "", false
	}
	key := r.URL.EscapedPath() + "?" + filterQuery(r.URL.RawQuery, p.query)
	for _, name := range p.headers {
		key += "\n" + r.Header.Get(name)
	}
	return key, true
}

func (p forwardPolicy) query(raw string) string { return filterQuery(raw, p.queries) }

// filterQuery keeps the pairs as they were sent, in their order: a repeated name stays repeated.
func filterQuery(raw string, s selection) string {
	if s.behavior == "all" {
		return raw
	}
	var kept strings.Builder
	for pair := range strings.SplitSeq(raw, "&") {
		name, _, _ := strings.Cut(pair, "=")
		if decoded, err := url.QueryUnescape(name); err != nil || pair == "" || !s.has(decoded) {
			continue
		}
		if len(pair) == len(raw) {
			return raw
		}
		if kept.Len() > 0 {
			kept.WriteByte('&')
		}
		kept.WriteString(pair)
	}
	return kept.String()
}

func (p forwardPolicy) header(h http.Header) http.Header {
	out := make(http.Header, len(h)+5) // with those that are added to it
	out["User-Agent"] = []string{"Amazon CloudFront"}
	for name, values := range h {
		switch {
		case hopByHop(name), name == "Cookie" && p.cookies.behavior != "all":
		case p.headers.has(name):
			out[name] = slices.Clone(values)
		}
	}
	return out
}

// headersPolicy is what a behaviour does to the headers of an answer.
type headersPolicy struct {
	set    []headerRule
	cors   []headerRule // for requests with an Origin only
	remove []string
}

type headerRule struct {
	name     string   // in its canonical form
	values   []string // one; answers share it
	override bool
}

func newHeaderRule(name, value string, override bool) headerRule {
	return headerRule{http.CanonicalHeaderKey(name), []string{value}, override}
}

func (p headersPolicy) apply(h http.Header, crossOrigin bool) {
	for _, name := range p.remove {
		h.Del(name)
	}
	apply := func(rules []headerRule) {
		for _, r := range rules {
			if r.override || h.Get(r.name) == "" {
				h[r.name] = r.values
			}
		}
	}
	apply(p.set)
	if crossOrigin {
		apply(p.cors)
	}
}
