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
	// EdgeHitRatio of pictures that are asked for at the edge, where they are asked for often enough; BrowserHitRatio of drawn ones that the
	// viewer has already.
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
	// What is the index's, and would not be there with another: of the metrics, and of an upload's calls.
	IndexMetrics         float64            `json:"index_metrics"`
	IndexCallsOfAnUpload map[string]float64 `json:"index_calls_of_an_upload"`
	DynamoDBSumsAnItem   float64            `json:"dynamodb_sums_an_item"` // of weights, with their keys, in 4 KB
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
	alarms       float64 // in the template: metrics that alarms watch
	indexAlarms  float64 // of those, the index's
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
	busy         float64 // environments at a time, mean
	environments float64 // that are kept warm, at least one
	cold, reads  float64 // share of draws that start an environment; that wait for a reading of the root, at most
	ms           float64 // of a draw, mean
	computeEach  float64 // GB-s, mean
	getsEach     float64 // S3 reads of the index, mean
}

// fleetOf works out how many environments serve draws that come evenly, each of which takes extra ms.
func (m *model) fleetOf(draws, extra float64) fleet {
	r, w := m.measured.Random.work, m.work
	f := fleet{perSecond: draws / month, cold: m.cold(draws), environments: 1}
	warm := r.atShare(r.CPUMS) + extra
	// Each environment that is warm reads each label's root at most once a second, and a draw waits for it; how many are busy follows from
	// that. By Poisson their number varies around its mean, and Lambda keeps as many as there lately were at a time: three standard deviations
	// more than the mean.
	beyond := max(0, 1-w.PicturesInMemory/(w.Pictures/w.Labels))
	for range 50 {
		f.reads = min(1, w.Labels*f.environments/f.perSecond)
		f.ms = warm + (f.reads+beyond)*w.S3GetMS
		f.busy = f.perSecond * f.ms / 1000
		f.environments = max(1, f.busy+3*math.Sqrt(f.busy))
	}
	// The CPU of a start is measured with that of its first draw.
	start := r.compute(r.atShare(m.measured.Random.InitCPUMS) + m.measured.Random.FirstGets*w.S3FirstGetMS + extra)
	f.getsEach = (f.reads+beyond)*(1-f.cold) + f.cold*m.measured.Random.FirstGets
	f.computeEach = f.cold*start + (1-f.cold)*(f.reads*r.compute(warm+w.S3GetMS+beyond*w.S3GetMS)+(1-f.reads)*r.compute(warm+beyond*w.S3GetMS))
	return f
}

// cold is, by Poisson, the share of draws before which nobody came for as long as an environment is kept.
func (m *model) cold(draws float64) float64 {
	return math.Exp(-draws / month * m.work.IdleMinutes * 60)
}

// asking is the GB-s of a draw, mean, that asks a store for so many ms each time, and keeps nothing in memory.
func (m *model) asking(draws, ms float64) float64 {
	r, cold := m.measured.Random.work, m.cold(draws)
	return cold*r.compute(r.atShare(m.measured.Random.InitCPUMS)+ms) + (1-cold)*r.compute(r.atShare(r.CPUMS)+ms)
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

// photos is what does not depend on draws and any way to build it needs: storage, alarms, metrics, and uploads, each of which waits so
// many ms for an index.
func (m *model) photos(wait float64) usage {
	w := m.work
	u := usage{s3Storage: w.Pictures * w.PictureBytes / gigabyte, alarms: m.alarms - m.indexAlarms, metrics: w.Metrics - w.IndexMetrics}
	up := m.upload(w.PictureBytes)
	calls := map[string]float64{}
	for method, n := range up.Calls {
		calls[method] = max(0, n-w.IndexCallsOfAnUpload[method])
	}
	u.add(usage{
		edgeRequests: 1, edgeFunctions: 1, lambdaRequests: 1, apiRequests: math.Ceil(w.PictureBytes / apiUnit),
		lambdaCompute: up.compute(up.atShare(up.CPUMS) + w.waits(calls) + wait), logs: (w.UploadLogBytes + w.PlatformLogBytes) / gigabyte,
	}, w.Uploads)
	u.add(charged(calls), w.Uploads)
	return u
}

// own is photos with the service's own index: its part of each upload, and upkeep each minute.
func (m *model) own() usage {
	w := m.work
	u := m.photos(w.waits(w.IndexCallsOfAnUpload))
	u.add(usage{alarms: m.indexAlarms, metrics: w.IndexMetrics}, 1)
	u.add(charged(w.IndexCallsOfAnUpload), w.Uploads)
	tend := m.measured.Tend
	minutes := month / 60
	u.add(usage{lambdaRequests: 1, lambdaCompute: tend.compute(tend.atShare(tend.CPUMS) + w.waits(tend.Calls)), logs: w.PlatformLogBytes / gigabyte}, minutes)
	u.add(charged(tend.Calls), minutes)
	return u
}

// petpick is the service as it is.
func (m *model) petpick(draws float64) usage {
	f := m.fleetOf(draws, 0)
	u := m.own()
	u.add(m.answers(draws), 1)
	u.add(usage{lambdaCompute: f.computeEach, s3Reads: f.getsEach}, draws)
	return u
}

// answers are the redirects and the pictures that they lead to, but for the function's time.
func (m *model) answers(draws float64) usage {
	w := m.work
	asked := 1 - w.BrowserHitRatio
	u := usage{}
	u.add(m.invocations(), draws)
	u.add(usage{edgeBytes: m.measured.Random.AnswerBytes / gigabyte}, draws)
	u.add(usage{
		edgeRequests: asked, edgeBytes: asked * (w.PictureBytes + w.CloudFrontHeaderBytes) / gigabyte, s3Reads: asked * (1 - m.found(draws)),
	}, draws)
	return u
}

// invocations is what any answer of the function takes, but for its time and its body.
func (m *model) invocations() usage {
	w := m.work
	u := usage{edgeRequests: 1, edgeBytes: w.CloudFrontHeaderBytes / gigabyte, lambdaRequests: 1}
	if m.platformLogs {
		u[logs] = w.PlatformLogBytes / gigabyte
	}
	return u
}

// found is the share of pictures that the edge has when it is asked for them: no more than one cache that forgets nothing would have in a month
// that begins without, of pictures that are drawn equally often. The first question for a picture finds nothing, and by Poisson
// 1 - exp(-x) of them are asked for at all, x times on average.
func (m *model) found(draws float64) float64 {
	x := draws * (1 - m.work.BrowserHitRatio) / m.work.Pictures
	if x == 0 {
		return 0
	}
	return min(m.work.EdgeHitRatio, 1+math.Expm1(-x)/x)
}

// way is a way to build it.
type way struct {
	name, why string
	use       func(m *model, draws float64) usage
}

const throughLambda = "bytes through Lambda"

var ways = []way{
	{"petpick", "", (*model).petpick},
	{throughLambda, "the function answers with the picture (`format=image`): one request at the edge a draw instead of two, but nothing is cached there or in browsers, the function reads each picture from S3, and a viewer waits for that", (*model).throughLambda},
	{"API Gateway for /random", "an HTTP API in place of the function URL", func(m *model, draws float64) usage {
		u := m.petpick(draws)
		u[apiRequests] += draws
		return u
	}},
	{"index in DynamoDB, one read", "one eventually consistent read a draw and one write an upload, the least there is, in place of the index in memory, its upkeep, and its part of uploads, metrics and alarms. " +
		"It is a lower bound that cannot keep the promise: one read of a random key prefers pictures behind wide gaps; of densely numbered pictures it is exact for equal weights only, and who removes one must renumber another; " +
		"rejection by weight takes as many reads as the largest weight is times the mean one", (*model).dynamo},
	{"index in DynamoDB, by weight", "what exact draws under change need: a tree of sums of weights, in items of 4 KB. A draw descends by one strongly consistent read a level (and again when a level has changed meanwhile, which is not counted); " +
		"a change writes one item of each level in a transaction, so that all changes of a label meet in one item", (*model).dynamoTree},
	{"LIST for each request", "the label is listed for each draw, 1,000 keys a call; no index and no weights", (*model).lists},
}

func (m *model) throughLambda(draws float64) usage {
	w, r, image := m.work, m.measured.Random.work, m.measured.Image
	f := m.fleetOf(draws, image.atShare(image.CPUMS)-r.atShare(r.CPUMS)+w.S3GetMS)
	u := m.own()
	u.add(m.invocations(), draws)
	u.add(usage{edgeBytes: w.PictureBytes / gigabyte, s3Reads: 1 + f.getsEach, lambdaCompute: f.computeEach}, draws)
	return u
}

func (m *model) dynamo(draws float64) usage {
	ms := m.work.DynamoDBMS
	u := m.photos(ms)
	u.add(m.answers(draws), 1)
	u.add(usage{lambdaCompute: m.asking(draws, ms), dynamoReads: 0.5}, draws) // eventually consistent: half a unit
	u.add(usage{dynamoWrites: 1}, m.work.Uploads)
	return u
}

// levels of a tree of sums over a label's pictures.
func (m *model) levels() float64 {
	return max(1, math.Ceil(math.Log(m.work.Pictures/m.work.Labels)/math.Log(m.work.DynamoDBSumsAnItem)))
}

func (m *model) dynamoTree(draws float64) usage {
	ms := m.levels() * m.work.DynamoDBMS
	u := m.photos(ms + m.work.DynamoDBMS) // the levels are read, and then written at once
	u.add(m.answers(draws), 1)
	u.add(usage{lambdaCompute: m.asking(draws, ms), dynamoReads: m.levels()}, draws)
	// An upload reads the levels, and writes them: a unit for each KB, twice in a transaction.
	u.add(usage{dynamoReads: m.levels(), dynamoWrites: m.levels() * 4 * 2}, m.work.Uploads)
	return u
}

func (m *model) lists(draws float64) usage {
	pages := math.Ceil(m.work.Pictures / m.work.Labels / 1000)
	u := m.photos(0)
	u.add(m.answers(draws), 1)
	u.add(usage{lambdaCompute: m.asking(draws, pages*m.work.S3ListMS), s3Writes: pages}, draws)
	return u
}

// breakEven is the share of drawn pictures in viewers' caches from which on the service costs no more than bytes through Lambda, which no
// browser keeps; 1 where it always costs more.
func (m *model) breakEven(draws float64) float64 {
	cost := func(ratio float64) float64 {
		c := *m
		c.work.BrowserHitRatio = ratio
		return total(c.prices.bill(c.petpick(draws)))
	}
	other := total(m.prices.bill(m.throughLambda(draws)))
	if cost(0) <= other {
		return 0
	}
	low, high := 0.0, 1.0
	for range 40 {
		if middle := (low + high) / 2; cost(middle) > other {
			low = middle
		} else {
			high = middle
		}
	}
	return high
}
