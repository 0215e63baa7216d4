package main

import (
	"math"
	"slices"
)

// workload is what is assumed; workload.json has the values.
type workload struct {
	Draws         []float64 `json:"draws"` // a month, one column each
	Labels        float64   `json:"labels"`
	Pictures      float64   `json:"pictures"`
	PictureBytes  float64   `json:"picture_bytes"`
	PicturesAPage float64   `json:"pictures_a_page"`
	Uploads       float64   `json:"uploads"` // a month
	// EdgeHitRatio of pictures that are asked for at the edge; BrowserHitRatio of drawn ones that the viewer has already.
	EdgeHitRatio          float64 `json:"edge_hit_ratio"`
	BrowserHitRatio       float64 `json:"browser_hit_ratio"`
	CloudFrontHeaderBytes float64 `json:"cloudfront_header_bytes"` // that CloudFront adds to an answer
	// Latencies of the stores, in ms, that a function is billed for while it waits.
	S3GetMS      float64 `json:"s3_get_ms"`
	S3FirstGetMS float64 `json:"s3_first_get_ms"`
	S3PutMS      float64 `json:"s3_put_ms"`
	S3ListMS     float64 `json:"s3_list_ms"`
	DynamoDBMS   float64 `json:"dynamodb_ms"`
	// IdleMinutes until Lambda drops an environment that nobody calls.
	IdleMinutes      float64 `json:"idle_minutes"`
	PeakByMean       float64 `json:"peak_by_mean"` // of requests a second
	UploadLogBytes   float64 `json:"upload_log_bytes"`
	PlatformLogBytes float64 `json:"platform_log_bytes"` // Lambda's own lines for an invocation
	Metrics          float64 `json:"metrics"`            // of our own in CloudWatch, with each of their dimensions
	PicturesInMemory float64 `json:"pictures_in_memory"` // of a label; what is beyond is read by ranged GETs
	// Limits, as AWS documents them, and the compare-and-swaps that one S3 key takes.
	Concurrency       float64 `json:"concurrency"`
	DrawsPerSecondPer float64 `json:"draws_per_second_per_environment"`
	S3ReadsPerSecond  float64 `json:"s3_reads_per_second"`
	S3WritesPerSecond float64 `json:"s3_writes_per_second"`
	SwapsPerSecond    float64 `json:"swaps_per_second"`
}

// figures are what bench/invoke wrote.
type figures struct {
	Machine string `json:"machine"`
	Random  struct {
		work
		AnswerBytes float64 `json:"answer_bytes"`
		InitCPUMS   float64 `json:"init_cpu_ms"`
		FirstGets   float64 `json:"first_gets"`
	} `json:"random"`
	Image  work   `json:"image"`
	Upload []work `json:"upload"`
	Tend   work   `json:"tend"`
}

type work struct {
	Name     string             `json:"name"`
	Bytes    float64            `json:"bytes"`
	MemoryMB float64            `json:"memory_mb"`
	CPUMS    float64            `json:"cpu_ms"`
	Calls    map[string]float64 `json:"calls"`
}

type model struct {
	prices       prices
	work         workload
	measured     figures
	platformLogs bool
	alarms       float64 // in the template
	writeRate    float64 // uploads a second that the template's API takes
	source, date string
}

const (
	month    = 365.25 / 12 * 24 * 3600 // seconds
	gigabyte = 1 << 30
	vcpuMB   = 1769 // a whole vCPU
	apiUnit  = 512 << 10
)

// atShare is how long CPU work takes with the part of a vCPU that the memory brings: a burst may be faster, and is not counted on.
func (w work) atShare(cpuMS float64) float64 { return cpuMS / min(1, w.MemoryMB/vcpuMB) }

// compute is Lambda's GB-s for a time that is billed by the millisecond.
func (w work) compute(ms float64) float64 { return math.Ceil(ms) / 1000 * w.MemoryMB / 1024 }

// fleet is how draws meet the random function.
type fleet struct {
	perSecond    float64 // mean
	environments float64 // busy at a time, at least one
	cold, reads  float64 // share of draws that start an environment; that wait for a reading of the root
	ms           float64 // of a draw, mean
	computeEach  float64 // GB-s, mean
	getsEach     float64 // S3 reads of the index, mean
}

// fleetOf works out how many environments serve draws that come evenly, each of which takes extra ms.
func (m *model) fleetOf(draws, extra float64) fleet {
	r, w := m.measured.Random.work, m.work
	f := fleet{perSecond: draws / month}
	warm := r.atShare(r.CPUMS) + extra
	// By Poisson: the share of draws before which nobody came for as long as an environment is kept.
	f.cold = math.Exp(-f.perSecond * w.IdleMinutes * 60)
	// Each environment reads each label's root at most once a second, and a draw waits for it; the number of environments follows from that.
	beyond := max(0, 1-w.PicturesInMemory/(w.Pictures/w.Labels))
	f.environments = 1
	for range 20 {
		f.reads = min(1, w.Labels*f.environments/f.perSecond)
		f.ms = warm + (f.reads+beyond)*w.S3GetMS
		f.environments = max(1, f.perSecond*f.ms/1000)
	}
	cold := r.atShare(m.measured.Random.InitCPUMS) + m.measured.Random.FirstGets*w.S3FirstGetMS
	f.getsEach = (f.reads+beyond)*(1-f.cold) + f.cold*m.measured.Random.FirstGets
	f.computeEach = f.cold*r.compute(cold) + (1-f.cold)*(f.reads*r.compute(warm+w.S3GetMS+beyond*w.S3GetMS)+(1-f.reads)*r.compute(warm+beyond*w.S3GetMS))
	return f
}

// upload interpolates between what was measured of JPEGs.
func (m *model) upload(bytes float64) work {
	var jpgs []work
	for _, w := range m.measured.Upload {
		if w.Name == "jpg" {
			jpgs = append(jpgs, w)
		}
	}
	slices.SortFunc(jpgs, func(a, b work) int { return int(a.Bytes - b.Bytes) })
	i := slices.IndexFunc(jpgs, func(w work) bool { return w.Bytes >= bytes })
	switch {
	case i == 0:
		return jpgs[0]
	case i < 0:
		i = len(jpgs) - 1
	}
	a, b := jpgs[i-1], jpgs[i]
	b.CPUMS = a.CPUMS + (b.CPUMS-a.CPUMS)*(bytes-a.Bytes)/(b.Bytes-a.Bytes)
	return b
}

// waits is how long a function waits for its calls, one after the other.
func (w workload) waits(calls map[string]float64) float64 {
	return calls["GET"]*w.S3GetMS + calls["HEAD"]*w.S3GetMS + calls["PUT"]*w.S3PutMS + calls["LIST"]*w.S3ListMS + calls["POST"]*w.S3PutMS
}

// charged are the calls as S3 charges for them: deletions are free.
func charged(calls map[string]float64) usage {
	return usage{s3Reads: calls["GET"] + calls["HEAD"], s3Writes: calls["PUT"] + calls["LIST"]}
}

// others is what does not depend on draws: uploads, upkeep, storage.
func (m *model) others() usage {
	u := usage{s3Storage: m.work.Pictures * m.work.PictureBytes / gigabyte, alarms: m.alarms, metrics: m.work.Metrics}
	up := m.upload(m.work.PictureBytes)
	u.add(usage{
		edgeRequests: 1, edgeFunctions: 1, lambdaRequests: 1, apiRequests: math.Ceil(m.work.PictureBytes / apiUnit),
		lambdaCompute: up.compute(up.atShare(up.CPUMS) + m.work.waits(up.Calls)), logs: (m.work.UploadLogBytes + m.work.PlatformLogBytes) / gigabyte,
	}, m.work.Uploads)
	u.add(charged(up.Calls), m.work.Uploads)
	tend := m.measured.Tend
	minutes := month / 60
	u.add(usage{lambdaRequests: 1, lambdaCompute: tend.compute(tend.atShare(tend.CPUMS) + m.work.waits(tend.Calls)), logs: m.work.PlatformLogBytes / gigabyte}, minutes)
	u.add(charged(tend.Calls), minutes)
	return u
}

// petpick is the service as it is.
func (m *model) petpick(draws float64) usage {
	f, w := m.fleetOf(draws, 0), m.work
	u := m.others()
	u.add(m.pictures(), draws)
	u.add(usage{
		edgeRequests: 1, edgeBytes: (m.measured.Random.AnswerBytes + w.CloudFrontHeaderBytes) / gigabyte,
		lambdaRequests: 1, lambdaCompute: f.computeEach, s3Reads: f.getsEach,
	}, draws)
	if m.platformLogs {
		u[logs] += draws * w.PlatformLogBytes / gigabyte
	}
	return u
}

// pictures is what a draw's picture takes once it is known which.
func (m *model) pictures() usage {
	w := m.work
	asked := 1 - w.BrowserHitRatio
	return usage{
		edgeRequests: asked, edgeBytes: asked * (w.PictureBytes + w.CloudFrontHeaderBytes) / gigabyte, s3Reads: asked * (1 - w.EdgeHitRatio),
	}
}

// way is a way to build it.
type way struct {
	name, why string
	use       func(m *model, draws float64) usage
}

var ways = []way{
	{"petpick", "", (*model).petpick},
	{"bytes through Lambda", "the function answers with the picture (`format=image`): one request at the edge a draw instead of two, but nothing is cached there or in browsers, the function reads each picture from S3, and a viewer waits for that", (*model).throughLambda},
	{"API Gateway for /random", "an HTTP API in place of the function URL", func(m *model, draws float64) usage {
		u := m.petpick(draws)
		u[apiRequests] += draws
		return u
	}},
	{"index in DynamoDB", "one eventually consistent read a draw, the least there is, in place of the index in memory; one write an upload", (*model).dynamo},
	{"LIST for each request", "the label is listed for each draw, 1,000 keys a call; no weights", (*model).lists},
}

func (m *model) throughLambda(draws float64) usage {
	w, image := m.work, m.measured.Image
	f := m.fleetOf(draws, 0)
	u := m.others()
	u.add(usage{
		edgeRequests: 1, edgeBytes: (w.PictureBytes + w.CloudFrontHeaderBytes) / gigabyte, lambdaRequests: 1, s3Reads: 1 + f.getsEach,
		lambdaCompute: image.compute(image.atShare(image.CPUMS) + w.S3GetMS),
	}, draws)
	if m.platformLogs {
		u[logs] += draws * w.PlatformLogBytes / gigabyte
	}
	return u
}

func (m *model) dynamo(draws float64) usage {
	u := m.petpick(draws)
	f := m.fleetOf(draws, 0)
	r := m.measured.Random
	u[s3Reads] -= draws * f.getsEach
	u[lambdaCompute] += draws * (r.compute(r.atShare(r.CPUMS)+m.work.DynamoDBMS) - f.computeEach)
	u.add(usage{dynamoReads: 0.5}, draws)
	u.add(usage{dynamoWrites: 1}, m.work.Uploads)
	return u
}

func (m *model) lists(draws float64) usage {
	u := m.petpick(draws)
	f := m.fleetOf(draws, 0)
	r, pages := m.measured.Random, math.Ceil(m.work.Pictures/m.work.Labels/1000)
	u[s3Reads] -= draws * f.getsEach
	u[lambdaCompute] += draws * (r.compute(r.atShare(r.CPUMS)+pages*m.work.S3ListMS) - f.computeEach)
	u[s3Writes] += draws * pages
	return u
}
