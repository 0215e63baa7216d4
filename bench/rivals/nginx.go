package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"go.yaml.in/yaml/v3"

	"petpick/bench/rig"
	"petpick/infra"
)

// behavior is what nginx takes over of a cache behaviour.
type behavior struct {
	PathPattern    string   `yaml:"PathPattern"`
	CachePolicyID  string   `yaml:"CachePolicyId"`
	AllowedMethods []string `yaml:"AllowedMethods"`
}

// The managed cache policies that the template names: the first keeps nothing; the second keeps what the origin allows, by the path
// alone.
const cachingDisabled, cachingUncompressed = "4135ea2d-6df8-44a3-9df3-4b5a84be39ad", "b2884449-e4de-46a7-ac36-70bc7f1ddd6d"

// nginxFromTemplate is the http block of an edge with the template's behaviours, in front of another server. The log has a line for each
// request: its path, what the cache said, its status and bytes.
func nginxFromTemplate(template []byte, addr, origin, dir string) (string, error) {
	var doc struct {
		Resources struct {
			Distribution struct {
				Properties struct {
					DistributionConfig struct {
						DefaultCacheBehavior behavior   `yaml:"DefaultCacheBehavior"`
						CacheBehaviors       []behavior `yaml:"CacheBehaviors"`
					} `yaml:"DistributionConfig"`
				} `yaml:"Properties"`
			} `yaml:"Distribution"`
		} `yaml:"Resources"`
	}
	if err := yaml.Unmarshal(template, &doc); err != nil {
		return "", fmt.Errorf("template: %w", err)
	}
	distribution := doc.Resources.Distribution.Properties.DistributionConfig
	var b strings.Builder
	fmt.Fprintf(&b, "log_format edge '$uri $upstream_cache_status $status $body_bytes_sent';\naccess_log %s/access.log edge;\n", dir)
	fmt.Fprintf(&b, "proxy_cache_path %s/cache keys_zone=pictures:16m inactive=365d max_size=2g use_temp_path=off;\n", dir)
	fmt.Fprintf(&b, "upstream origin { server %s; keepalive 64; }\nserver { listen %s backlog=1024;\n", strings.TrimPrefix(origin, "http://"), addr)
	fmt.Fprint(&b, "proxy_http_version 1.1; proxy_set_header Connection ''; proxy_redirect off;\n")
	distribution.DefaultCacheBehavior.PathPattern = "/*"
	behaviors := append(distribution.CacheBehaviors, distribution.DefaultCacheBehavior)
	for _, c := range behaviors {
		prefix, star := strings.CutSuffix(c.PathPattern, "*")
		if strings.ContainsAny(prefix, "*?") {
			return "", fmt.Errorf("template: the pattern %s is none that nginx's prefixes can say", c.PathPattern)
		}
		match := "= " + c.PathPattern
		if star {
			match = prefix
		}
		fmt.Fprintf(&b, "location %s { limit_except %s { deny all; } proxy_pass http://origin; ", match, strings.Join(c.AllowedMethods, " "))
		switch c.CachePolicyID {
		case cachingDisabled:
		case cachingUncompressed:
			// Collapsed like CloudFront's: one request fills the cache, the others wait for it.
			fmt.Fprint(&b, "proxy_cache pictures; proxy_cache_key $uri; proxy_cache_lock on; proxy_ignore_headers Vary; ")
		default:
			return "", fmt.Errorf("template: %s has a cache policy that is not known here: %s", c.PathPattern, c.CachePolicyID)
		}
		fmt.Fprint(&b, "}\n")
	}
	fmt.Fprint(&b, "}\n")
	return b.String(), nil
}

// edgeResult is what pictures through nginx took of what is behind it.
type edgeResult struct {
	pictures, hits, misses int
	distinct               int   // pictures that were served at least once
	draws                  int   // answers of GET /random
	drawBytes              int64 // of their bodies
	gets                   int   // of pictures from S3, counted on their way
	service, store         time.Duration
}

// throughNginx lets k6 draw and follow, with nginx as the edge, its cache empty at the start, and an S3 server whose calls are counted. How fast
// is not asked: every answer must be right.
func throughNginx(ctx context.Context, cfg config, scripts string) (res edgeResult, err error) {
	store, err := rig.OpenStore(ctx, cfg.realData())
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	service, err := rig.Serve(ctx, cfg.binary, filepath.Join(cfg.dir, "served"), serverCore, rig.Environment(), "--s3-endpoint", store.Endpoint())
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, service.Stop()) }()
	addr, err := rig.FreeAddr()
	if err != nil {
		return res, err
	}
	dir := filepath.Join(cfg.dir, "edge")
	conf, err := nginxFromTemplate(infra.Template, addr, service.URL, dir)
	if err != nil {
		return res, err
	}
	url, p, err := nginx(ctx, dir, serverCore, addr, conf)
	if err != nil {
		return res, err
	}
	err = res.load(ctx, cfg, service, store, strings.TrimSuffix(url, "/random?label=cat"), scripts)
	if err := errors.Join(err, p.Stop()); err != nil { // it writes its log to the end
		return res, err
	}
	return res, res.readLog(filepath.Join(dir, "access.log"))
}

// load runs k6, and notes what it took behind nginx.
func (res *edgeResult) load(ctx context.Context, cfg config, service *rig.Service, store *rig.Store, base, scripts string) error {
	before, err := service.Usage()
	if err != nil {
		return err
	}
	own, gets := ownCPU(), store.Calls()[getPicture]
	cmd := rig.Command(ctx, "taskset", "-c", clientCore, cfg.k6, "run", "--quiet", "--no-usage-report", filepath.Join(scripts, "random.js"))
	cmd.Env = append(os.Environ(), "BASE_URL="+base, "MODE=picture", "LABELS=cat", "RATE=300", "P99=10000", "MAX_DROPPED=1000000", fmt.Sprintf("DURATION=%ds", cfg.pictureSeconds))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("k6: %w\n%s", err, out)
	}
	after, err := service.Usage()
	res.service, res.store, res.gets = after.CPU-before.CPU, ownCPU()-own, store.Calls()[getPicture]-gets
	return err
}

// getPicture is how the store counts a picture that is fetched.
const getPicture = "GET photos cat/"

// ownCPU is this process's: the S3 server's, and of what counts its calls.
func ownCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func (res *edgeResult) readLog(name string) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	served := map[string]bool{}
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		var path, cache string
		var status int
		var size int64
		if _, err := fmt.Sscan(lines.Text(), &path, &cache, &status, &size); err != nil {
			return fmt.Errorf("%s: %q: %w", name, lines.Text(), err)
		}
		switch {
		case path == "/random":
			res.draws++
			res.drawBytes += size
		case strings.HasPrefix(path, "/cat/") && status < 400:
			res.pictures++
			served[path] = true
			if cache == "HIT" {
				res.hits++
			} else {
				res.misses++
			}
		}
	}
	if res.distinct = len(served); res.pictures == 0 {
		return fmt.Errorf("%s has no picture", name)
	}
	return lines.Err()
}
