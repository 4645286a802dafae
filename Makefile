# What a newcomer and what CI call. `make help` lists it.

GO      ?= go
GOFLAGS ?=
BIN     := bin
# The race detector needs a C compiler.
RACE    := $(shell command -v $(shell $(GO) env CC) >/dev/null 2>&1 && echo -race)
TOOL    := $(GO) tool -modfile=tools/go.mod

.DEFAULT_GOAL := help
.PHONY: help
help: ## What there is to make
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sort | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  %-19s %s\n", $$1, $$2}'

.PHONY: build
build: ## The programs, into bin/
	$(GO) build -trimpath -o $(BIN)/ ./cmd/... ./localstack

.PHONY: demo
demo: build ## Everything in half a minute: stack, worker, import, queries, dead letters
	@$(GO) run ./examples/demo

.PHONY: run
run: build ## Stack and worker, left running, and what to try
	@$(GO) run ./examples/demo -stay

.PHONY: test
test: ## All tests; with DynamoDB Local and ElasticMQ, which it fetches and starts itself
	$(GO) run ./localstack/emulators exec -- $(GO) test $(RACE) -shuffle=on -parallel 16 ./...

.PHONY: check generate
check: ## What every change must pass, in minutes; .ci/run has the rest
	@test -z "$$(gofmt -l cmd internal localstack test bench examples)" || { gofmt -l cmd internal localstack test bench examples; echo "not gofmt-ed"; exit 1; }
	$(GO) mod tidy -diff
	$(GO) vet ./...
	$(TOOL) staticcheck ./...
	$(GO) test -shuffle=on ./cmd/... ./internal/... ./localstack/... ./examples/internal/... ./test/model ./test/faults/...
generate: ## What is generated: the OpenAPI documents, the example files
	$(GO) generate ./...

.PHONY: lint
lint: ## go vet, staticcheck, golangci-lint
	$(GO) vet ./...
	$(TOOL) staticcheck ./...
	$(TOOL) golangci-lint run ./...
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo "not gofmt-ed"; exit 1; }

.PHONY: emulators-up emulators-down
emulators-up: ## DynamoDB Local and ElasticMQ, without Docker
	$(GO) run ./localstack/emulators up
emulators-down: ## Ends them
	$(GO) run ./localstack/emulators down

.PHONY: schemathesis bench-query
schemathesis: ## Requests made up from the OpenAPI document
	TRIBUTARY_SCHEMATHESIS=1 $(GO) test -count=1 -v -run '^TestSchemathesis$$' ./internal/query
bench-query: build ## What the API adds to a bare SDK read
	cd bench/query && $(GO) build -o $(CURDIR)/$(BIN)/bench-query .
	$(GO) run ./localstack/emulators exec -- $(BIN)/bench-query -worker $(BIN)/worker

.PHONY: model model-mutants conformance-mutants chaos chaos-embedded hostile
model: ## A minute of random schedules against the six promises
	$(GO) test ./test/model -v -run TestModel -model.for=1m
model-mutants: ## Plants twenty-two bugs; the model test must find each
	$(GO) run ./test/model/mutants
conformance-mutants: ## Makes the embedded stack deviate from AWS in six places; the conformance suite must find each
	$(GO) run ./test/conformance/mutants
chaos: ## Workers killed and stopped at random, 50,000 commands, nothing lost (two minutes)
	$(GO) run ./localstack/emulators exec -- $(GO) run ./test/chaos
chaos-embedded: ## The same, shorter, without Java
	$(GO) run ./test/chaos -embedded -commands 10000 -for 25s
hostile: ## What hostile messages cost the others: latency, memory, and where each ends (FOR=1m)
	$(GO) run ./test/hostile -for $(FOR)

.PHONY: localstack-kill
localstack-kill: ## Kills the local stack with --data twenty times under load, and again under a worker, which must go on
	$(GO) test ./localstack -run 'TestKilled|TestWorkerOutlivesKills' -count=1 -v -kill.rounds 20

.PHONY: deploy-test image image-test
deploy-test: ## Chart, rules, dashboard, CloudFormation, each against the real thing
	$(GO) build -C tools -o ../$(BIN)/tools/ github.com/prometheus/prometheus/cmd/promtool
	$(BIN)/tools/promtool check rules deploy/prometheus/tributary.rules.yaml
	$(BIN)/tools/promtool test rules deploy/prometheus/tributary.rules.test.yaml
	$(GO) -C test/deploy/chart test -count=1 ./...
	$(GO) test -count=1 ./test/deploy/...
image: ## The image, without pulling anything
	deploy/image/build.sh
image-test: ## And runs it (root, buildah)
	deploy/image/test.sh

.PHONY: clean
clean: ## Removes what was built
	rm -rf $(BIN)

FOR       ?= 1m
BENCHTIME ?= 1s
BASE      ?= main
ROUNDS    ?= 5
SCENARIOS ?= plain,packed,rate,idle
AGAINST   ?= bare

.PHONY: bench bench-compare
bench: ## Benchmarks beside the code (BENCHTIME=1s)
	$(GO) test -run '^$$' -bench . -benchmem -benchtime $(BENCHTIME) ./internal/... ./localstack/...
bench-compare: ## The same against the main branch, by benchstat (BASE=main)
	bench/compare.sh $(BASE)

ORDERS  ?= 1500000
TENANTS ?= 1,1000

.PHONY: bench-localstack bench-load bench-e2e pgo
bench-localstack: build ## Orders imported into the local stack: rate of the first and last tenth, memory (ORDERS= TENANTS=)
	$(GO) run ./bench/localstack -bin $(CURDIR)/$(BIN) -orders $(ORDERS) -tenants $(TENANTS)
bench-load: build ## The worker under load next to a bare loop over the SDK (SCENARIOS= ROUNDS=5 AGAINST=bare)
	cd bench/load && $(GO) run . -worker $(CURDIR)/$(BIN)/worker -scenarios $(SCENARIOS) -rounds $(ROUNDS) -against $(AGAINST)
bench-e2e: build ## The worker against DynamoDB Local and ElasticMQ
	cd bench/load && $(GO) build -o $(CURDIR)/$(BIN)/tools/load .
	$(GO) run ./localstack/emulators exec -- $(BIN)/tools/load -e2e -worker $(BIN)/worker
pgo: ## What profile-guided optimization would bring
	ROUNDS=$(ROUNDS) bench/pgo.sh
