package edge

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"petpick/src/gateway"
)

// seconds is a number that a template may also write as text.
type seconds time.Duration

func (s *seconds) UnmarshalJSON(b []byte) error {
	n, err := strconv.ParseFloat(strings.Trim(string(b), `"`), 64)
	*s = seconds(n * float64(time.Second))
	return err
}

// The properties that are read of the template; what is not listed has no meaning on one machine (TLS, price class, logs).
type (
	distribution struct {
		DistributionConfig struct {
			Origins []struct {
				ID                  string `json:"Id"`
				DomainName          string
				OriginCustomHeaders []struct{ HeaderName, HeaderValue string }
				CustomOriginConfig  struct{ OriginReadTimeout *seconds }
			}
			DefaultCacheBehavior behaviorConfig
			CacheBehaviors       []behaviorConfig
			CustomErrorResponses []struct {
				ErrorCode          int
				ErrorCachingMinTTL *seconds
			}
		}
	}
	behaviorConfig struct {
		PathPattern, TargetOriginID                                   string
		AllowedMethods                                                []string
		CachePolicyID, OriginRequestPolicyID, ResponseHeadersPolicyID string
		FunctionAssociations                                          []struct{ EventType, FunctionARN string }
	}
	cachePolicyConfig struct {
		CachePolicyConfig struct {
			MinTTL, DefaultTTL, MaxTTL seconds

			ParametersInCacheKeyAndForwardedToOrigin struct {
				QueryStringsConfig struct {
					QueryStringBehavior string
					QueryStrings        []string
				}
				HeadersConfig struct{ Headers []string }
			}
		}
	}
	originRequestPolicyConfig struct {
		OriginRequestPolicyConfig struct {
			HeadersConfig struct {
				HeaderBehavior string
				Headers        []string
			}
			QueryStringsConfig struct {
				QueryStringBehavior string
				QueryStrings        []string
			}
			CookiesConfig struct {
				CookieBehavior string
				Cookies        []string
			}
		}
	}
	responseHeadersPolicyConfig struct {
		ResponseHeadersPolicyConfig struct {
			CorsConfig *struct {
				AccessControlAllowOrigins  struct{ Items []string }
				AccessControlAllowHeaders  struct{ Items []string }
				AccessControlAllowMethods  struct{ Items []string }
				AccessControlExposeHeaders struct{ Items []string }
				OriginOverride             bool
			}
			SecurityHeadersConfig struct {
				ContentTypeOptions    *struct{ Override bool }
				ContentSecurityPolicy *struct {
					ContentSecurityPolicy string
					Override              bool
				}
				StrictTransportSecurity *struct {
					AccessControlMaxAgeSec json.Number
					IncludeSubdomains      bool
					Override               bool
				}
				FrameOptions *struct {
					FrameOption string
					Override    bool
				}
				ReferrerPolicy *struct {
					ReferrerPolicy string
					Override       bool
				}
			}
			CustomHeadersConfig struct {
				Items []struct {
					Header, Value string
					Override      bool
				}
			}
			RemoveHeadersConfig struct{ Items []struct{ Header string } }
		}
	}
	apiConfig struct {
		CorsConfiguration *struct {
			AllowOrigins, AllowMethods, AllowHeaders, ExposeHeaders []string
			MaxAge                                                  json.Number
		}
	}
	bucketConfig struct {
		CorsConfiguration struct {
			CorsRules []struct {
				AllowedOrigins, AllowedMethods, AllowedHeaders, ExposedHeaders []string
				MaxAge                                                         json.Number
			}
		}
	}
)

// New reads the template. Every reference must lead somewhere: a part that is missing is an error here, not at the first request.
func New(cfg Config) (*Edge, error) {
	t, err := parseTemplate(cfg.Template, nil)
	if err != nil {
		return nil, err
	}
	b := &builder{template: t, cfg: cfg, origins: map[string]origin{}, custom: map[string]http.Header{}, timeouts: map[string]time.Duration{}, lambdas: map[string]*lambda{}}
	e := &Edge{cache: newCache(), buffers: semaphore.NewWeighted(bufferMemory), now: cfg.Now, log: cfg.Log, errorTTL: map[int]time.Duration{}}
	if e.now == nil {
		e.now = time.Now
	}
	b.cfg.Now = e.now
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	found := 0
	err = t.each("AWS::CloudFront::Distribution", func(_ string, r resource) error {
		found++
		return b.distribution(e, r)
	})
	if err != nil {
		return nil, fmt.Errorf("template: %w", err)
	}
	if found != 1 {
		return nil, fmt.Errorf("template: %d distributions, want one", found)
	}
	return e, nil
}

type builder struct {
	template *template
	cfg      Config
	origins  map[string]origin
	custom   map[string]http.Header
	timeouts map[string]time.Duration
	lambdas  map[string]*lambda
}

func (b *builder) distribution(e *Edge, r resource) error {
	var d distribution
	if err := convert(r.Properties, &d); err != nil {
		return err
	}
	for _, o := range d.DistributionConfig.Origins {
		made, err := b.origin(o.DomainName)
		if err != nil {
			return fmt.Errorf("origin %s: %w", o.ID, err)
		}
		b.origins[o.ID], b.custom[o.ID] = made, http.Header{}
		b.timeouts[o.ID] = 30 * time.Second // CloudFront's default
		if s := o.CustomOriginConfig.OriginReadTimeout; s != nil {
			b.timeouts[o.ID] = time.Duration(*s)
		}
		for _, h := range o.OriginCustomHeaders {
			b.custom[o.ID].Set(h.HeaderName, h.HeaderValue)
		}
	}
	last := d.DistributionConfig.DefaultCacheBehavior
	last.PathPattern = "*"
	for _, c := range append(d.DistributionConfig.CacheBehaviors, last) {
		made, err := b.behavior(c)
		if err != nil {
			return fmt.Errorf("behaviour %s: %w", c.PathPattern, err)
		}
		e.behaviors = append(e.behaviors, made)
	}
	for _, c := range d.DistributionConfig.CustomErrorResponses {
		if c.ErrorCachingMinTTL != nil {
			e.errorTTL[c.ErrorCode] = time.Duration(*c.ErrorCachingMinTTL)
		}
	}
	return nil
}

func (b *builder) behavior(c behaviorConfig) (behavior, error) {
	made := behavior{pattern: c.PathPattern, methods: c.AllowedMethods, origin: b.origins[c.TargetOriginID], custom: b.custom[c.TargetOriginID],
		timeout: b.timeouts[c.TargetOriginID]}
	if made.origin == nil {
		return made, fmt.Errorf("no origin %q", c.TargetOriginID)
	}
	if !strings.HasPrefix(made.pattern, "/") && !strings.HasPrefix(made.pattern, "*") {
		made.pattern = "/" + made.pattern
	}
	if len(made.methods) == 0 {
		made.methods = []string{http.MethodGet, http.MethodHead}
	}
	var err error
	if made.cache, err = b.cachePolicy(c.CachePolicyID); err != nil {
		return made, err
	}
	if made.forward, err = b.forwardPolicy(c.OriginRequestPolicyID); err != nil {
		return made, err
	}
	if made.headers, err = b.headersPolicy(c.ResponseHeadersPolicyID); err != nil {
		return made, err
	}
	for _, f := range c.FunctionAssociations {
		if f.EventType != "viewer-request" {
			return made, fmt.Errorf("functions at %s are not understood here", f.EventType)
		}
		if made.viewer, err = b.viewerFunction(f.FunctionARN); err != nil {
			return made, err
		}
	}
	return made, nil
}

// lookup reads the resource that a reference names, which must be of the kind.
func (b *builder) lookup(reference, kind string, into any) (string, error) {
	id, ok := target(reference)
	if !ok {
		return "", fmt.Errorf("%q names no resource", reference)
	}
	r, ok := b.template.resources[id]
	if !ok || r.Type != kind {
		return "", fmt.Errorf("%s: there is no such %s", id, kind)
	}
	if into == nil {
		return id, nil
	}
	return id, convert(r.Properties, into)
}

func (b *builder) cachePolicy(id string) (cachePolicy, error) {
	if p, ok := managedCache[id]; ok {
		return p, nil
	}
	var c cachePolicyConfig
	if _, err := b.lookup(id, "AWS::CloudFront::CachePolicy", &c); err != nil {
		return cachePolicy{}, fmt.Errorf("cache policy: %w", err)
	}
	in := c.CachePolicyConfig
	key := in.ParametersInCacheKeyAndForwardedToOrigin
	return cachePolicy{
		minTTL: time.Duration(in.MinTTL), defaultTTL: time.Duration(in.DefaultTTL), maxTTL: time.Duration(in.MaxTTL),
		query: selection{key.QueryStringsConfig.QueryStringBehavior, key.QueryStringsConfig.QueryStrings}, headers: key.HeadersConfig.Headers,
	}, nil
}

func (b *builder) forwardPolicy(id string) (forwardPolicy, error) {
	if id == "" {
		return forwardPolicy{}, nil
	}
	if p, ok := managedForward[id]; ok {
		return p, nil
	}
	var c originRequestPolicyConfig
	if _, err := b.lookup(id, "AWS::CloudFront::OriginRequestPolicy", &c); err != nil {
		return forwardPolicy{}, fmt.Errorf("origin request policy: %w", err)
	}
	in := c.OriginRequestPolicyConfig
	return forwardPolicy{
		headers: selection{in.HeadersConfig.HeaderBehavior, in.HeadersConfig.Headers},
		queries: selection{in.QueryStringsConfig.QueryStringBehavior, in.QueryStringsConfig.QueryStrings},
		cookies: selection{in.CookiesConfig.CookieBehavior, in.CookiesConfig.Cookies},
	}, nil
}

func (b *builder) headersPolicy(id string) (headersPolicy, error) {
	var p headersPolicy
	if id == "" {
		return p, nil
	}
	var c responseHeadersPolicyConfig
	if _, err := b.lookup(id, "AWS::CloudFront::ResponseHeadersPolicy", &c); err != nil {
		return p, fmt.Errorf("response headers policy: %w", err)
	}
	in := c.ResponseHeadersPolicyConfig
	set := func(name, value string, override bool) { p.set = append(p.set, newHeaderRule(name, value, override)) }
	sec := in.SecurityHeadersConfig
	if h := sec.ContentTypeOptions; h != nil {
		set("X-Content-Type-Options", "nosniff", h.Override)
	}
	if h := sec.ContentSecurityPolicy; h != nil {
		set("Content-Security-Policy", h.ContentSecurityPolicy, h.Override)
	}
	if h := sec.StrictTransportSecurity; h != nil {
		value := "max-age=" + h.AccessControlMaxAgeSec.String()
		if h.IncludeSubdomains {
			value += "; includeSubDomains"
		}
		set("Strict-Transport-Security", value, h.Override)
	}
	if h := sec.FrameOptions; h != nil {
		set("X-Frame-Options", h.FrameOption, h.Override)
	}
	if h := sec.ReferrerPolicy; h != nil {
		set("Referrer-Policy", h.ReferrerPolicy, h.Override)
	}
	for _, h := range in.CustomHeadersConfig.Items {
		set(h.Header, h.Value, h.Override)
	}
	for _, h := range in.RemoveHeadersConfig.Items {
		p.remove = append(p.remove, h.Header)
	}
	if c := in.CorsConfig; c != nil && len(c.AccessControlAllowOrigins.Items) > 0 {
		p.cors = append(p.cors, newHeaderRule("Access-Control-Allow-Origin", c.AccessControlAllowOrigins.Items[0], c.OriginOverride))
		if items := c.AccessControlExposeHeaders.Items; len(items) > 0 {
			p.cors = append(p.cors, newHeaderRule("Access-Control-Expose-Headers", strings.Join(items, ","), c.OriginOverride))
		}
	}
	return p, nil
}

func (b *builder) viewerFunction(reference string) (*viewerFunction, error) {
	var c struct {
		FunctionCode string
		AutoPublish  bool
	}
	id, err := b.lookup(reference, "AWS::CloudFront::Function", &c)
	if err != nil {
		return nil, err
	}
	if !c.AutoPublish {
		return nil, fmt.Errorf("%s: a behaviour can only name a published function: AutoPublish is not true", id)
	}
	return newViewerFunction(id, c.FunctionCode)
}

func (b *builder) origin(domain string) (origin, error) {
	id, ok := target(domain)
	if !ok {
		return nil, fmt.Errorf("%q names no resource", domain)
	}
	switch kind := b.template.resources[id].Type; kind {
	case "AWS::S3::Bucket":
		return b.bucketOrigin(id)
	case "AWS::Lambda::Url":
		var c struct{ TargetFunctionArn string }
		if err := convert(b.template.resources[id].Properties, &c); err != nil {
			return nil, err
		}
		function, settings, err := b.lambda(c.TargetFunctionArn)
		if err != nil {
			return nil, err
		}
		f, ok := b.cfg.Functions[function]
		if !ok {
			return nil, fmt.Errorf("%s: nothing was given to run as this function", function)
		}
		return functionOrigin{function: f, host: "random.lambda-url.local", lambda: settings}, nil
	case "AWS::ApiGatewayV2::Api":
		return b.apiOrigin(id)
	default:
		return nil, fmt.Errorf("%s: a %q is no origin that is understood here", id, kind)
	}
}

func (b *builder) bucketOrigin(id string) (origin, error) {
	bucket, ok := b.cfg.Buckets[id]
	if !ok {
		return nil, fmt.Errorf("%s: nothing was given to be this bucket", id)
	}
	if bucket.Client == nil {
		bucket.Client = http.DefaultClient
	}
	var c bucketConfig
	if err := convert(b.template.resources[id].Properties, &c); err != nil {
		return nil, err
	}
	o := bucketOrigin{bucket: bucket}
	for _, r := range c.CorsConfiguration.CorsRules {
		o.cors = append(o.cors, corsRule{r.AllowedOrigins, r.AllowedMethods, r.AllowedHeaders, r.ExposedHeaders, r.MaxAge.String()})
	}
	var err error
	o.allowed, err = b.readableKeys(id)
	return o, err
}

// readableKeys are the patterns of keys that the bucket's policy lets CloudFront read.
func (b *builder) readableKeys(bucket string) ([]string, error) {
	var allowed []string
	err := b.template.each("AWS::S3::BucketPolicy", func(_ string, r resource) error {
		var c struct {
			Bucket         string
			PolicyDocument struct {
				Statement []struct {
					Effect            string
					Principal, Action any
					Resource          any
				}
			}
		}
		if err := convert(r.Properties, &c); err != nil {
			return err
		}
		if id, _ := target(c.Bucket); id != bucket {
			return nil
		}
		for _, s := range c.PolicyDocument.Statement {
			if s.Effect != "Allow" || !strings.Contains(fmt.Sprint(s.Principal), "cloudfront.amazonaws.com") || !strings.Contains(fmt.Sprint(s.Action), "s3:GetObject") {
				continue
			}
			resources, ok := s.Resource.([]any)
			if !ok {
				resources = []any{s.Resource}
			}
			for _, r := range resources {
				if keys, ok := strings.CutPrefix(fmt.Sprint(r), "${"+bucket+".Arn}/"); ok {
					allowed = append(allowed, keys)
				}
			}
		}
		return nil
	})
	return allowed, err
}

func (b *builder) apiOrigin(id string) (origin, error) {
	var c apiConfig
	if err := convert(b.template.resources[id].Properties, &c); err != nil {
		return nil, err
	}
	o := &apiOrigin{host: "api.execute-api.local", memory: semaphore.NewWeighted(functionMemory), now: b.cfg.Now}
	if cors := c.CorsConfiguration; cors != nil {
		o.cors = &corsRule{cors.AllowOrigins, cors.AllowMethods, cors.AllowHeaders, cors.ExposeHeaders, cors.MaxAge.String()}
	}
	var stages []stage
	err := errors.Join(
		b.template.each("AWS::ApiGatewayV2::Stage", func(_ string, r resource) error {
			var s stage
			err := convert(r.Properties, &s)
			if api, _ := target(s.APIID); api == id && s.StageName == gateway.DefaultRoute {
				stages = append(stages, s)
			}
			return err
		}),
		b.template.each("AWS::ApiGatewayV2::Route", func(_ string, r resource) error {
			rt, api, err := b.route(r)
			if err == nil && api == id {
				o.routes = append(o.routes, rt)
			}
			return err
		}),
	)
	if err == nil && len(stages) != 1 {
		return nil, fmt.Errorf("%s: %d stages $default, want one: with another the API would want its stage's name in every path", id, len(stages))
	}
	if err == nil {
		err = o.limit(stages[0])
	}
	return o, err
}

// stage is an API's stage, with how many requests a route takes. Each route has a bucket of its own.
type stage struct {
	APIID, StageName     string
	DefaultRouteSettings throttling
	RouteSettings        map[string]throttling
}

type throttling struct {
	ThrottlingRateLimit  json.Number // a second
	ThrottlingBurstLimit json.Number
}

func (t throttling) limiter() (*rate.Limiter, error) {
	if t.ThrottlingRateLimit == "" && t.ThrottlingBurstLimit == "" {
		return nil, nil
	}
	perSecond, err1 := t.ThrottlingRateLimit.Float64()
	burst, err2 := t.ThrottlingBurstLimit.Int64()
	if err := errors.Join(err1, err2); err != nil {
		return nil, fmt.Errorf("throttling: %w", err)
	}
	return rate.NewLimiter(rate.Limit(perSecond), int(burst)), nil
}

// limit sets what the stage allows each route.
func (o *apiOrigin) limit(s stage) (err error) {
	for i := range o.routes {
		settings, own := s.RouteSettings[o.routes[i].key]
		if !own {
			settings = s.DefaultRouteSettings
		}
		if o.routes[i].throttle, err = settings.limiter(); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) route(r resource) (route, string, error) {
	var c struct{ APIID, RouteKey, Target string }
	if err := convert(r.Properties, &c); err != nil {
		return route{}, "", err
	}
	var integration struct {
		IntegrationURI, PayloadFormatVersion string
		TimeoutInMillis                      int
	}
	if _, err := b.lookup(c.Target, "AWS::ApiGatewayV2::Integration", &integration); err != nil {
		return route{}, "", err
	}
	if integration.PayloadFormatVersion != "2.0" {
		return route{}, "", fmt.Errorf("payload format %q: the functions read 2.0", integration.PayloadFormatVersion)
	}
	function, settings, err := b.lambda(integration.IntegrationURI)
	if err != nil {
		return route{}, "", err
	}
	f, ok := b.cfg.APIs[function]
	if !ok {
		return route{}, "", fmt.Errorf("%s: nothing was given to run as this function", function)
	}
	rt := route{key: c.RouteKey, function: f, lambda: settings, timeout: 30 * time.Second}
	if integration.TimeoutInMillis > 0 {
		rt.timeout = time.Duration(integration.TimeoutInMillis) * time.Millisecond
	}
	if c.RouteKey != gateway.DefaultRoute {
		method, path, ok := strings.Cut(c.RouteKey, " ")
		if !ok || !strings.HasPrefix(path, "/") {
			return route{}, "", fmt.Errorf("route key %q", c.RouteKey)
		}
		rt.method, rt.segments = method, strings.Split(strings.TrimPrefix(path, "/"), "/")
	}
	api, _ := target(c.APIID)
	return rt, api, nil
}
