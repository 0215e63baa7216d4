package main

import (
	"maps"
	"math"
	"testing"
)

// byHand is a model of round figures, with the prices that there are.
func byHand(t *testing.T) *model {
	t.Helper()
	m := &model{prices: loaded(t).prices, alarms: 20, indexAlarms: 6}
	m.work = workload{
		Labels: 2, Pictures: 100_000, PictureBytes: 100_000, Uploads: 10_000, EdgeHitRatio: 0.95, CloudFrontHeaderBytes: 300,
		S3GetMS: 20, S3FirstGetMS: 60, S3PutMS: 70, S3ListMS: 40, DynamoDBMS: 5, IdleMinutes: 7, UploadLogBytes: 1000, PlatformLogBytes: 700,
		Metrics: 12, IndexMetrics: 6, PicturesInMemory: 1e9, DynamoDBSumsAnItem: 200,
		IndexCallsOfAnUpload: map[string]float64{"GET": 1, "LIST": 1, "PUT": 2, "POST": 1},
	}
	f := &m.measured
	f.Random.work = work{MemoryMB: 256, CPUMS: 0.4}
	f.Random.AnswerBytes, f.Random.InitCPUMS, f.Random.FirstGets = 200, 50, 3
	f.Image = work{MemoryMB: 256, CPUMS: 3}
	f.Upload = []work{{Name: "jpg", Bytes: 100_000, MemoryMB: 1769, CPUMS: 40, Calls: map[string]float64{"GET": 4, "LIST": 1, "PUT": 3, "POST": 1}}}
	f.Tend = work{MemoryMB: 256, CPUMS: 10, Calls: map[string]float64{"GET": 6, "LIST": 6}}
	return m
}

// A billion draws by hand, with prices typed off prices.json's sources and not read from it, beyond all free units.
const (
	draws, uploads, minutes = 1e9, 1e4, 30.4375 * 24 * 60
	gib                     = 1 << 30

	// 0.4 ms of CPU on 256 of 1,769 MB are 2.8 ms, and a GET is 20. 380.26 draws a second of 3.244 ms keep 1.234 environments busy
	// and 1.234 + 3 sqrt(1.234) = 4.566 warm, each of which reads two roots a second: 9.132 of 380.26 draws wait, and all take
	// 2.764 + 20 x 0.0240 = 3.244 ms on average.
	waiting = 9.132 / 380.26
	// The same with a picture, 3 ms of CPU and a GET: 40.73 ms. 380.26 draws of 43.77 ms keep 16.64 busy and 28.88 warm, and 57.76 wait.
	waitingForBytes = 57.76 / 380.26

	upload  = 0.440 * 1769 / 1024           // 40 ms, 4 GET, 1 LIST, 3 PUT, 1 POST of 20, 40, 70, 70 ms
	without = (0.040 + 0.130) * 1769 / 1024 // without the index: 3 GET, 1 PUT
	tend    = 0.430 * 256 / 1024            // 69.1 ms of CPU, 6 GET, 6 LIST

	perGBs      = 0.0000133334
	edgeGBs     = 100_800 * draws / gib // 200 and 300 bytes, 100,000 and 300 bytes
	edgeGBsUSD  = 9216*0.085 + 40_960*0.08 + (edgeGBs-51_200)*0.06
	edgeUSD     = edgeGBsUSD + (2*draws+uploads-10e6)*0.01/10_000
	lambdaUSD   = (draws + uploads - 1e6) * 0.20 / 1e6
	upkeepUSD   = minutes * 0.20 / 1e6
	apiUSD      = uploads * 1.00 / 1e6
	storageUSD  = 1e5 * 1e5 / gib * 0.023
	computeUSD  = (draws*0.25*(0.003*(1-waiting)+0.023*waiting) + uploads*upload + minutes*tend - 400_000) * perGBs
	getsUSD     = (0.05*draws + waiting*draws + 4*uploads + 6*minutes) * 0.0004 / 1000
	writesUSD   = (4*uploads + 6*minutes) * 0.005 / 1000
	alarmsUSD   = (20 - 10) * 0.10
	metricsUSD  = (12 - 10) * 0.30
	petpickUSD  = edgeUSD + lambdaUSD + upkeepUSD + apiUSD + storageUSD + computeUSD + getsUSD + writesUSD + alarmsUSD + metricsUSD
	noIndexUSD  = edgeUSD + lambdaUSD + apiUSD + storageUSD + (0.05*draws+3*uploads)*0.0004/1000 + uploads*0.005/1000 + (14-10)*0.10
	requestsUSD = (draws - 300e6 + uploads) * 0.90 / 1e6
)

func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if math.Abs(got-want) > 0.0005*want {
		t.Errorf("%s: %.4f, want %.4f", what, got, want)
	}
}

func TestItemsByHand(t *testing.T) {
	m := byHand(t)
	bill := m.prices.bill(m.petpick(draws))
	want := map[string]float64{
		edgeBytes: edgeGBsUSD, edgeRequests: 2*draws*1e-6 + uploads*1e-6 - 10, edgeFunctions: 0, lambdaRequests: lambdaUSD + upkeepUSD, lambdaCompute: computeUSD,
		apiRequests: apiUSD, s3Reads: getsUSD, s3Writes: writesUSD, s3Storage: storageUSD, logs: 0, alarms: alarmsUSD, metrics: metricsUSD,
	}
	for name := range want {
		near(t, name, bill[name], want[name])
	}
	for name := range maps.Keys(bill) {
		if _, ok := want[name]; !ok {
			t.Errorf("%s costs %.2f, and nobody has computed it", name, bill[name])
		}
	}
	// With Lambda's own lines: 700 bytes a draw, and 5 GB are free.
	m.platformLogs = true
	near(t, "logs", m.prices.bill(m.petpick(draws))[logs], ((draws*700+uploads*1700+minutes*700)/gib-5)*0.50)
	// Where each draw starts an environment: 345.5 ms of CPU and 3 first GETs of 60 ms, and 3 GETs.
	m.work.IdleMinutes = 0
	cold := m.petpick(draws)
	near(t, "cold compute", cold[lambdaCompute], draws*0.25*0.526+uploads*upload+minutes*tend)
	near(t, "cold reads", cold[s3Reads], 3.05*draws+4*uploads+6*minutes)
}

func TestAlternativesByHand(t *testing.T) {
	m := byHand(t)
	gb := 100_300 * draws / gib
	want := map[string]float64{
		"petpick": petpickUSD,
		throughLambda: 9216*0.085 + 40_960*0.08 + (gb-51_200)*0.06 + (draws+uploads-10e6)*1e-6 + lambdaUSD + upkeepUSD + apiUSD + storageUSD + writesUSD + alarmsUSD + metricsUSD +
			(draws*0.25*(0.041*(1-waitingForBytes)+0.061*waitingForBytes)+uploads*upload+minutes*tend-400_000)*perGBs + (draws*(1+waitingForBytes)+4*uploads+6*minutes)*0.4e-6,
		"API Gateway for /random": petpickUSD - apiUSD + 300 + requestsUSD,
		// 2.8 + 5 ms a draw; an upload waits for 5 ms, too.
		"index in DynamoDB, one read": noIndexUSD + (draws*0.25*0.008+uploads*(without+0.005*1769/1024)-400_000)*perGBs + draws/2*0.125/1e6 + uploads*0.625/1e6,
		// 50,000 pictures of a label in three levels of 200: 2.8 + 15 ms a draw, 3 units; an upload reads them and writes 3 x 4 KB, twice.
		"index in DynamoDB, by weight": noIndexUSD + (draws*0.25*0.018+uploads*(without+0.020*1769/1024)-400_000)*perGBs + (draws+uploads)*3*0.125/1e6 + uploads*24*0.625/1e6,
		// 50 LISTs a draw, one after the other: 2,002.8 ms.
		"LIST for each request": noIndexUSD + (draws*0.25*2.003+uploads*without-400_000)*perGBs + 50*draws*0.005/1000,
	}
	for _, w := range ways {
		near(t, w.name, total(m.prices.bill(w.use(m, draws))), want[w.name])
	}
}
