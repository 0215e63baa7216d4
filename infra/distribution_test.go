package infra_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"petpick/src/edge"
)

type (
	behavior struct {
		PathPattern, TargetOriginID, ViewerProtocolPolicy             string
		AllowedMethods, CachedMethods                                 []string
		CachePolicyID, OriginRequestPolicyID, ResponseHeadersPolicyID string
		FunctionAssociations                                          []struct{ EventType, FunctionARN string }
	}
	originConfig struct {
		Name                              string `json:"Id"`
		DomainName, OriginAccessControlID string
		OriginShield                      *struct{ OriginShieldRegion string }
		S3OriginConfig                    map[string]any
		CustomOriginConfig                *struct {
			OriginProtocolPolicy string
			OriginSSLProtocols   []string
		}
	}
	distributionConfig struct {
		DistributionConfig struct {
			HttpVersion, WebACLID, PriceClass string
			Enabled, IPV6Enabled              bool
			Aliases                           []string
			ViewerCertificate                 map[string]any
			Origins                           []originConfig
			DefaultCacheBehavior              behavior
			CacheBehaviors                    []behavior
			CustomErrorResponses              []struct {
				ErrorCode          int
				ErrorCachingMinTTL *json.Number
				ResponsePagePath   string
			}
		}
	}
)

const (
	uncached     = "4135ea2d-6df8-44a3-9df3-4b5a84be39ad" // CachingDisabled
	uncompressed = "b2884449-e4de-46a7-ac36-70bc7f1ddd6d" // CachingOptimizedForUncompressedObjects
	allButHost   = "b689b0a8-53d0-40ab-baf2-68738e2966ac" // AllViewerExceptHostHeader
)

func (c *checker) distribution() {
	of(c, "AWS::CloudFront::Distribution", func(id string, _ edge.Resource, p distributionConfig) {
		d := p.DistributionConfig
		c.want(id, "HTTP", fmt.Sprint(d.HttpVersion, " ", d.Enabled, d.IPV6Enabled), "http2and3 true true")
		if len(d.Aliases) > 0 {
			c.want(id, "certificate", d.ViewerCertificate, "map[AcmCertificateArn:arn:aws:acm:us-east-1:000000000000:certificate/0 MinimumProtocolVersion:TLSv1.2_2021 SslSupportMethod:sni-only]")
			c.want(id, "aliases and web ACL", fmt.Sprint(d.Aliases, " ", d.WebACLID), "[pets.example.com] arn:aws:wafv2:us-east-1:000000000000:global/webacl/w/0")
		} else {
			c.want(id, "certificate", d.ViewerCertificate, "map[CloudFrontDefaultCertificate:true]")
		}
		for _, o := range d.Origins {
			c.origin(id, o, len(d.Aliases) > 0)
		}
		patterns := []string{"*"}
		c.behavior(id, d.DefaultCacheBehavior)
		for _, b := range d.CacheBehaviors {
			c.behavior(id, b)
			patterns = append(patterns, b.PathPattern)
		}
		c.want(id, "behaviours", patterns, "[* /random /cat/* /dog/*]")
		uncachedErrors := map[int]bool{}
		for _, e := range d.CustomErrorResponses {
			if e.ErrorCachingMinTTL != nil && e.ErrorCachingMinTTL.String() == "0" && e.ResponsePagePath == "" {
				uncachedErrors[e.ErrorCode] = true
			}
		}
		for _, code := range []int{400, 403, 404, 405, 414, 416, 500, 501, 502, 503, 504} {
			c.want(id, fmt.Sprintf("error %d, not kept and not replaced", code), uncachedErrors[code], true)
		}
	})
}

func (c *checker) origin(id string, o originConfig, shielded bool) {
	switch o.Name {
	case "photos":
		c.want(id, "origin of pictures", o.DomainName, "${PhotosBucket.RegionalDomainName}")
		c.want(id, "its access control", o.OriginAccessControlID, "${PhotosAccessControl}")
		c.want(id, "its shield", o.OriginShield != nil, shielded)
		if o.S3OriginConfig == nil {
			c.fault("%s: %s is no S3 origin: its requests would not be signed for S3", id, o.Name)
		}
		return
	case "random":
		c.want(id, "origin of draws", o.DomainName, "${RandomUrl.FunctionUrl}")
		c.want(id, "its access control", o.OriginAccessControlID, "${RandomAccessControl}")
	}
	if o.CustomOriginConfig == nil {
		c.fault("%s: origin %s has no CustomOriginConfig", id, o.Name)
		return
	}
	c.want(id, o.Name+": to the origin", fmt.Sprint(o.CustomOriginConfig.OriginProtocolPolicy, " ", o.CustomOriginConfig.OriginSSLProtocols), "https-only [TLSv1.2]")
}

func (c *checker) behavior(id string, b behavior) {
	where := id + " " + b.PathPattern
	c.want(where, "ViewerProtocolPolicy", b.ViewerProtocolPolicy, "redirect-to-https")
	if !slices.Contains([]string{"[GET HEAD]", "[GET HEAD OPTIONS]", "[GET HEAD OPTIONS PUT PATCH POST DELETE]"}, fmt.Sprint(b.AllowedMethods)) {
		c.fault("%s: CloudFront takes no such AllowedMethods: %v", where, b.AllowedMethods)
	}
	c.want(where, "CachedMethods", b.CachedMethods, "[GET HEAD]")
	want := map[string][3]string{ // by origin
		"api":    {uncached, allButHost, "${ApiHeaders}"},
		"random": {uncached, "${RandomRequestPolicy}", "${ApiHeaders}"},
		"photos": {uncompressed, "", "${PictureHeaders}"},
	}[b.TargetOriginID]
	c.want(where, "policies", [3]string{b.CachePolicyID, b.OriginRequestPolicyID, b.ResponseHeadersPolicyID}, want)
	for _, f := range b.FunctionAssociations {
		if !slices.Contains([]string{"viewer-request", "viewer-response"}, f.EventType) {
			c.fault("%s: no function runs at %q", where, f.EventType)
		}
	}
	if b.TargetOriginID == "api" && len(b.FunctionAssociations) != 1 {
		c.fault("%s: without the function at the edge", where)
	}
}

func (c *checker) edgePolicies() {
	of(c, "AWS::CloudFront::CachePolicy", func(id string, _ edge.Resource, p struct {
		CachePolicyConfig struct{ MinTTL, DefaultTTL, MaxTTL float64 }
	}) {
		if t := p.CachePolicyConfig; t.MinTTL > t.DefaultTTL || t.DefaultTTL > t.MaxTTL {
			c.fault("%s: %+v: want min <= default <= max", id, t)
		}
	})
	of(c, "AWS::CloudFront::OriginAccessControl", func(id string, _ edge.Resource, p struct {
		OriginAccessControlConfig map[string]string
	}) {
		kind := map[string]string{"PhotosAccessControl": "s3", "RandomAccessControl": "lambda"}[id]
		got := p.OriginAccessControlConfig
		c.want(id, "signing", got["OriginAccessControlOriginType"]+" "+got["SigningBehavior"]+" "+got["SigningProtocol"], kind+" always sigv4")
	})
	of(c, "AWS::CloudFront::OriginRequestPolicy", func(id string, _ edge.Resource, p struct{ OriginRequestPolicyConfig map[string]any }) {
		got := fmt.Sprint(p.OriginRequestPolicyConfig)
		if !strings.Contains(got, "HeaderBehavior:none") || !strings.Contains(got, "CookieBehavior:none") || !strings.Contains(got, "[label format]") {
			c.fault("%s: forwards other than what the function reads: %s", id, got)
		}
	})
	of(c, "AWS::CloudFront::ResponseHeadersPolicy", func(id string, _ edge.Resource, p struct{ ResponseHeadersPolicyConfig map[string]any }) {
		got := fmt.Sprint(p.ResponseHeadersPolicyConfig)
		for _, want := range []string{"ContentTypeOptions:map[Override:true]", "AccessControlMaxAgeSec:3.1536e+07 Override:true", "Header:Cross-Origin-Resource-Policy Override:true Value:cross-origin", "Header:Timing-Allow-Origin Override:true Value:*"} {
			if !strings.Contains(got, want) {
				c.fault("%s: lacks %s", id, want)
			}
		}
		if id == "PictureHeaders" && !strings.Contains(got, "sandbox; default-src 'none'") {
			c.fault("%s: a picture may run scripts", id)
		}
	})
	of(c, "AWS::CloudFront::Function", func(id string, _ edge.Resource, f struct {
		AutoPublish    bool
		FunctionCode   string
		FunctionConfig struct{ Runtime string }
	}) {
		c.want(id, "published, runtime", fmt.Sprint(f.AutoPublish, " ", f.FunctionConfig.Runtime), "true cloudfront-js-2.0")
		if len(f.FunctionCode) > 10_000 {
			c.fault("%s: %d bytes, and CloudFront takes 10 KB", id, len(f.FunctionCode))
		}
	})
}
