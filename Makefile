# petpick: `make` lists what there is.
SHELL := /bin/bash
ADDR ?= 127.0.0.1:8080
DATA ?= .petpick
FUZZTIME ?= 5s
BENCHTIME ?= 1s
TORTURE ?= 5m
SOAK ?= 1800
RATE ?= 200
SECONDS ?= 30
K6_VERSION = v1.8.1
K6 = build/k6-$(K6_VERSION)/k6
RESULTS = $(CURDIR)/bench/results/$(shell date -u +%F)
FORMAT_TOOLS = imagemagick libjpeg-turbo-progs webp netpbm optipng pngcrush pngcheck libimage-exiftool-perl libvips-tools icc-profiles-free chromium
export CGO_ENABLED ?= 0

.DEFAULT_GOAL := help
.PHONY: help run test test-formats format-tools race check check-go torture e2e lint lint-tools fuzz bench bench-smoke soak bench-rivals bench-invoke bench-fairness bench-fleet cost bench-go bench-photo growth build deploy smoke logs destroy clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: ## the whole service on this machine (ADDR=127.0.0.1:8080 DATA=.petpick)
	@go build -o build/petpick ./src/cmd/petpick
	@exec build/petpick serve --addr $(ADDR) --data $(DATA)

test: ## every test; needs Go and nothing else
	go test -timeout 30m ./...

test-formats: ## pictures of Debian's encoders, read by Debian's decoders; apt-get install what FORMAT_TOOLS names
	@for p in $(FORMAT_TOOLS); do dpkg -s $$p >/dev/null 2>&1 || { echo "make test-formats needs $$p: apt-get install $(FORMAT_TOOLS)"; exit 1; }; done
	go test ./src/photo -run Formats -count 1 -timeout 30m -tools

format-tools: # Debian's packages that test-formats needs
	@echo $(FORMAT_TOOLS)

race: ## every test under the race detector, but TestMistakes, whose builds are without it; needs a C compiler
	CGO_ENABLED=1 go test -race -short -timeout 40m ./...

check: check-go lint ## gofmt, vet, staticcheck, tests under the race detector, short fuzzing, template lint

check-go:
	@out=$$(gofmt -l src infra bench); if [ -n "$$out" ]; then echo "gofmt would change:"; echo "$$out"; exit 1; fi
	go vet ./...
	go tool staticcheck ./...
	$(MAKE) race fuzz

torture: ## schedules of the index's store calls, systematic for TORTURE (5m) and at random for as long
	go test ./src/index -run 'Schedules|Torture' -count 1 -v -timeout 0 -torture $(TORTURE)

e2e: build ## the functions' binaries, built as for deployment but for this machine, under a Runtime API, as Lambda would run them
	@for f in cmd/upload cmd/random cmd/tend e2e/testdata/hello e2e/testdata/hellos3; do \
	  go build -tags lambda.norpc -trimpath -ldflags "-s -w" -o build/e2e/$$(basename $$f)/bootstrap ./src/$$f || exit 1; done
	go test ./src/e2e -count 1 -bootstraps $(CURDIR)/build/e2e -deployed $(CURDIR)/build

lint: lint-tools ## the template, by cfn-lint and by cdk-nag's AwsSolutions rules; needs pip's cfn-lint, and npm
	@command -v cfn-lint >/dev/null || { echo "make lint needs cfn-lint: pip install cfn-lint"; exit 1; }
	cfn-lint infra/template.yaml
	node infra/lint/nag.mjs infra/template.yaml

lint-tools: infra/lint/node_modules/.package-lock.json # cdk-nag, in the versions of infra/lint/package-lock.json

infra/lint/node_modules/.package-lock.json: infra/lint/package-lock.json
	@command -v npm >/dev/null || { echo "make lint needs Node.js with npm, for cdk-nag"; exit 1; }
	npm ci --prefix infra/lint --no-audit --no-fund

fuzz: ## each fuzz target for FUZZTIME (5s)
	@set -e; for f in $$(grep -rlE '^func Fuzz' src --include=*_test.go); do \
	  for t in $$(sed -nE 's/^func (Fuzz[A-Za-z]+).*/\1/p' $$f); do \
	    echo "$$t in $$(dirname $$f)"; go test ./$$(dirname $$f) -run '^$$' -fuzz "^$$t\$$" -fuzztime $(FUZZTIME); done; done

bench: build/petpick $(K6) ## load on the whole service by k6, as a dated page with charts in bench/results; RATE=200 SECONDS=30, or BASE_URL=https://…, with TOKEN=… for uploads
	go run ./bench/load -k6 $(K6) -rate $(RATE) -seconds $(SECONDS) -url "$(BASE_URL)" -out $(RESULTS)-load

bench-smoke: build/petpick $(K6) ## every k6 script for 3 s: what is answered, and not how fast; no page
	P99=10000 P99_UPLOAD=10000 MAX_DROPPED=1000 go run ./bench/load -k6 $(K6) -command 'make bench-smoke' -pictures 20 -rate 20 -seconds 3

soak: build/petpick $(K6) ## half of what the service can do, for SOAK (1800) seconds: memory, descriptors and p99 must stay as they are
	go run ./bench/load -k6 $(K6) -command 'make soak SOAK=$(SOAK)' -soak -seconds $(SOAK) -out $(RESULTS)-soak

bench-rivals: build/petpick $(K6) ## GET /random beside a constant 302, nginx, and what others write; needs wrk, nginx and two cores
	go run ./bench/rivals -k6 $(K6) -out $(RESULTS)-rivals

bench-invoke: ## what an invocation of the deployed functions takes; needs cwebp
	go run ./bench/invoke -out $(RESULTS)-invoke

bench-fairness: build/petpick ## a million draws through HTTP against the weights
	go run ./bench/fairness -out $(RESULTS)-fairness

bench-fleet: ## 1 to 10,000 Lambdas, simulated
	go test ./bench/fleet -run TestReport -count 1 -timeout 0 -v -fleet $(RESULTS)-fleet

cost: ## README's costs, from the last bench-invoke and bench/cost/*.json
	go run ./bench/cost

.PHONY: build/petpick
build/petpick:
	@go build -o $@ ./src/cmd/petpick

$(K6):
	GOBIN=$(CURDIR)/$(@D) go install go.k6.io/k6@$(K6_VERSION)

bench-go: ## Go's benchmarks, each for BENCHTIME (1s)
	go test -run '^$$' -bench . -benchmem -benchtime $(BENCHTIME) ./src/index ./src/api ./src/edge ./src/photo

# The memory limit is the one that the template gives the upload function.
bench-photo: ## memory and time for pictures of 50 million pixels, into bench/results; needs the tools of test-formats
	GOMEMLIMIT=$$(sed -nE '/UploadFunction:/,/GOMEMLIMIT/s/.*GOMEMLIMIT: //p' infra/template.yaml) \
	  go test ./src/photo -run 'TestMeasure$$' -count 1 -timeout 60m -v -measure $(CURDIR)/bench/results/$$(date -u +%F)-photo.md

growth: ## the same to 100,000,000 pictures in memory, as a page with plots in bench/results (6 GB)
	@mkdir -p build
	@set -o pipefail; go test -run '^$$' -bench . -benchmem -benchtime $(BENCHTIME) -timeout 0 ./src/index -growth | tee build/growth.txt
	@set -o pipefail; go test -run '^$$' -bench . -benchmem -benchtime $(BENCHTIME) ./src/api | tee -a build/growth.txt
	go run ./bench/report -command 'make growth' -out bench/results/$$(date -u +%F)-index < build/growth.txt

build: ## the command, and the functions as they are deployed (linux/arm64) with their zips, in build/
	go build -trimpath -o build/petpick ./src/cmd/petpick
	go run ./infra/ops build

ops = go build -o build/ops ./infra/ops && build/ops

deploy: build ## to AWS (STAGE=dev REGION=us-east-1, ACCOUNT=… refuses any other): the stack, a first token, the smoke test, the URLs
	@$(ops) deploy --stage "$(STAGE)" --region "$(REGION)" --account "$(ACCOUNT)"

smoke: ## try every route of a deployment or of make run (URL=http://127.0.0.1:8080 TOKEN=dev)
	@PETPICK_TOKEN="$(or $(TOKEN),$(PETPICK_TOKEN))"; export PETPICK_TOKEN; $(ops) smoke --url "$(URL)"

logs: ## what a function wrote (STAGE=dev REGION=… FUNCTION=upload, random, tend or api; SINCE=15m)
	@$(ops) logs --stage "$(STAGE)" --region "$(REGION)" --function $(or $(FUNCTION),upload) --since $(or $(SINCE),15m)

destroy: ## delete a deployment (STAGE=dev REGION=…); asks; the photos are kept unless PHOTOS=delete
	@$(ops) destroy --stage "$(STAGE)" --region "$(REGION)" --account "$(ACCOUNT)" $(if $(filter delete,$(PHOTOS)),--photos)

clean: ## what build and run made, but not DATA
	rm -rf build
