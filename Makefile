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
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sort | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  %-16s %s\n", $$1, $$2}'

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

.PHONY: clean
clean: ## Removes what was built
	rm -rf $(BIN)
