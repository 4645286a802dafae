# The commands for newcomers and for CI. `make help` lists them.

GO      ?= go
GOFLAGS ?=
BIN     := bin
# The race detector needs a C compiler.
RACE    := $(shell command -v $(shell $(GO) env CC) >/dev/null 2>&1 && echo -race)
TOOL    := $(GO) tool -modfile=tools/go.mod

.DEFAULT_GOAL := help
.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sort | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  %-19s %s\n", $$1, $$2}'

.PHONY: build
build: ## Build the programs into bin/
	$(GO) build -trimpath -o $(BIN)/ ./cmd/... ./localstack

.PHONY: demo
demo: build ## Show everything in half a minute: stack, worker, import, queries, dead letters
	@$(GO) run ./examples/demo

.PHONY: run
run: build ## Start the stack and a worker, and print commands to try
	@$(GO) run ./examples/demo -stay

.PHONY: test
test: ## Run all tests; fetches and starts DynamoDB Local and ElasticMQ
	$(GO) run ./localstack/emulators exec -- $(GO) test $(RACE) -shuffle=on -parallel 16 ./...

.PHONY: check generate
check: ## Run what every change must pass, in minutes; .ci/run runs the rest
	@test -z "$$(gofmt -l cmd internal localstack test bench examples)" || { gofmt -l cmd internal localstack test bench examples; echo "not gofmt-ed"; exit 1; }
	$(GO) mod tidy -diff
	$(GO) vet ./...
	$(TOOL) staticcheck ./...
	$(GO) test -shuffle=on ./cmd/... ./internal/... ./localstack/... ./examples/internal/... ./test/model ./test/faults/...
generate: ## Generate the OpenAPI documents and the example files
	$(GO) generate ./...

.PHONY: lint
lint: ## Run go vet, staticcheck and golangci-lint
	$(GO) vet ./...
	$(TOOL) staticcheck ./...
	$(TOOL) golangci-lint run ./...
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo "not gofmt-ed"; exit 1; }

.PHONY: emulators-up emulators-down
emulators-up: ## Start DynamoDB Local and ElasticMQ, without Docker
	$(GO) run ./localstack/emulators up
emulators-down: ## Stop them
	$(GO) run ./localstack/emulators down

.PHONY: schemathesis bench-query
schemathesis: ## Test the query API with requests generated from its OpenAPI document
	TRIBUTARY_SCHEMATHESIS=1 $(GO) test -count=1 -v -timeout 20m -parallel 2 -run '^TestSchemathesis' ./internal/query
bench-query: build ## Measure what the query API adds to a bare SDK read
	cd bench/query && $(GO) build -o $(CURDIR)/$(BIN)/bench-query .
	$(GO) run ./localstack/emulators exec -- $(BIN)/bench-query -worker $(BIN)/worker

.PHONY: model model-mutants conformance-mutants chaos chaos-embedded chaos-data chaos-erase tenants-proof hostile
model: ## Run random schedules against the six promises for a minute
	$(GO) test ./test/model -v -run TestModel -model.for=1m
model-mutants: ## Plant twenty-seven bugs; the model test must find each
	$(GO) run ./test/model/mutants
conformance-mutants: ## Plant six deviations in the embedded stack; the conformance suite must find each
	$(GO) run ./test/conformance/mutants
chaos: ## Kill and stop workers at random over 50,000 commands; nothing may be lost (two minutes)
	$(GO) run ./localstack/emulators exec -- $(GO) run ./test/chaos
chaos-embedded: ## The same, shorter, without Java
	$(GO) run ./test/chaos -embedded -commands 10000 -for 25s
chaos-erase: ## Erase a tenant while workers are killed and frozen, then send every message again (20 rounds, two at a time)
	$(GO) run ./test/chaos -embedded -erase -frozen 40s -commands 10000 -for 75s -rounds 20
chaos-data: ## The same with a local stack that is killed as well and goes on with its data
	$(GO) run ./test/chaos -data -commands 10000 -for 25s
tenants-proof: ## Prove limits, suspension, usage and exports of tenants with real workers (a quarter of an hour; PROOF=limits runs one)
	$(GO) run ./test/tenants -only '$(PROOF)'
hostile: ## Measure what hostile messages cost other tenants (FOR=1m)
	$(GO) run ./test/hostile -for $(FOR)

.PHONY: lambda lambda-chaos lambda-rie lambda-mutants
lambda: ## Build the worker as a Lambda function: bin/lambda-arm64.zip and bin/lambda-amd64.zip
	$(GO) run ./deploy/lambda -out $(BIN)
lambda-chaos: ## Run the Lambda function behind a simulated event source mapping through 50,000 commands of chaos, twice: in no order, and in FIFO order
	$(GO) test ./test/lambda -run 'TestChaos|TestThrottling' -count=1 -v -timeout 15m -lambda.commands 50000
lambda-rie: ## Let Lambda's own emulator of its runtime interface invoke the function
	$(GO) build -C tools/rie -o ../../$(BIN)/tools/aws-lambda-rie github.com/aws/aws-lambda-runtime-interface-emulator/cmd/aws-lambda-rie
	$(GO) test ./test/lambda -run TestEmulator -count=1 -v -lambda.rie $(CURDIR)/$(BIN)/tools/aws-lambda-rie
lambda-mutants: ## Plant twenty-two bugs in the Lambda function; its tests must find each
	$(GO) run ./test/lambda/mutants

.PHONY: localstack-kill
localstack-kill: ## Kills the local stack with --data twenty times under load, and again under a worker, which must go on
	$(GO) test ./localstack -run 'TestKilled|TestWorkerOutlivesKills' -count=1 -v -kill.rounds 20

.PHONY: deploy-test image image-test
deploy-test: ## Test chart, rules, dashboard and CloudFormation template with the real tools
	$(GO) build -C tools -o ../$(BIN)/tools/ github.com/prometheus/prometheus/cmd/promtool
	$(BIN)/tools/promtool check rules deploy/prometheus/tributary.rules.yaml
	$(BIN)/tools/promtool test rules deploy/prometheus/tributary.rules.test.yaml
	$(GO) -C test/deploy/chart test -count=1 ./...
	$(GO) test -count=1 ./test/deploy/...
image: ## Build the image, without pulling anything
	deploy/image/build.sh
image-test: ## Build and run the image (root, buildah)
	deploy/image/test.sh

.PHONY: clean
clean: ## Remove what was built
	rm -rf $(BIN)

FOR       ?= 1m
PROOF     ?=
BENCHTIME ?= 1s
BASE      ?= main
ROUNDS    ?= 5
SCENARIOS ?= plain,packed,rate,idle
AGAINST   ?= bare

.PHONY: bench bench-compare
bench: ## Run the benchmarks beside the code (BENCHTIME=1s)
	$(GO) test -run '^$$' -bench . -benchmem -benchtime $(BENCHTIME) ./internal/... ./localstack/...
bench-compare: ## Compare them with the main branch, by benchstat (BASE=main)
	bench/compare.sh $(BASE)

ORDERS  ?= 1500000
TENANTS ?= 1,1000

.PHONY: bench-localstack bench-load bench-e2e pgo
bench-localstack: build ## Import orders into the local stack: rate of the first and last tenth, memory (ORDERS= TENANTS=)
	$(GO) run ./bench/localstack -bin $(CURDIR)/$(BIN) -orders $(ORDERS) -tenants $(TENANTS)
bench-load: build ## Measure the worker under load next to a bare SDK loop (SCENARIOS= ROUNDS=5 AGAINST=bare)
	cd bench/load && $(GO) run . -worker $(CURDIR)/$(BIN)/worker -scenarios $(SCENARIOS) -rounds $(ROUNDS) -against $(AGAINST)
bench-e2e: build ## Measure the worker against DynamoDB Local and ElasticMQ
	cd bench/load && $(GO) build -o $(CURDIR)/$(BIN)/tools/load .
	$(GO) run ./localstack/emulators exec -- $(BIN)/tools/load -e2e -worker $(BIN)/worker
pgo: ## Measure what profile-guided optimization would bring
	ROUNDS=$(ROUNDS) bench/pgo.sh
