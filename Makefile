# Run `make help` for what a contributor does.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

BIN := $(CURDIR)/.bin
GOLANGCI_LINT := $(BIN)/golangci-lint-v2.15.0
BUF := $(BIN)/buf-v1.75.0
PROTOC_GEN_GO := $(BIN)/protoc-gen-go-v1.36.12
PROTOC_GEN_GO_GRPC := $(BIN)/protoc-gen-go-grpc-v1.6.2
TEST_FLAGS ?=
FUZZ_TIME ?= 20s
# SQLite is C translated to Go: checking its every pointer takes half of the time of
# all tests, and finds nothing of ours. (app/system_test.go builds so too.)
RACE := -race -gcflags=modernc.org/...=-d=checkptr=0

.PHONY: help
help: ## List what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-16s %s\n", $$1, $$2}'

.PHONY: run
run: ## Run the demo: a simulated GitHub, the whole pipeline, the dashboard
	go run ./app/dispatchai demo

.PHONY: build
build: ## Build the binary into .bin/
	go build -o $(BIN)/dispatchai ./app/dispatchai

.PHONY: setup
setup: ## Install what the tests need (on Debian and Ubuntu)
	@.ci/setup

.PHONY: test
test: setup ## Run every test: Go with the race detector, the dashboard, a real browser
	@if command -v npm >/dev/null; then cd web && npm ci --no-audit --no-fund --loglevel=error; \
	elif [ "$${CI:-}" = true ]; then echo "npm is missing: neither the dashboard's own tests nor GitHub's examples can be installed" >&2; exit 1; \
	else echo "SKIPPED: the dashboard's own tests and GitHub's examples of webhooks, because npm is not installed"; fi
	go vet ./...
	go test $(RACE) -timeout 25m $(TEST_FLAGS) ./...
	@if command -v npm >/dev/null; then cd web && npm run typecheck && npm test; fi

.PHONY: fuzz
fuzz: ## Fuzz every parser of outside input for FUZZ_TIME each (default 20s)
	@grep -rlE '^func Fuzz' --include='*_test.go' app core plugins | sort | while read -r file; do \
		grep -oE '^func (Fuzz[A-Za-z0-9_]+)' "$$file" | awk '{print $$2}' | while read -r name; do \
			echo "== $$name ($$(dirname $$file))"; go test -run='^$$' -fuzz="^$$name$$" -fuzztime=$(FUZZ_TIME) "./$$(dirname $$file)"; \
		done; done

.PHONY: lint
lint: $(GOLANGCI_LINT) $(BUF) ## Check style, import directions and the protocol
	$(GOLANGCI_LINT) run ./...
	cd proto && $(BUF) lint && $(BUF) breaking --against released.binpb

.PHONY: generate
generate: $(BUF) $(PROTOC_GEN_GO) $(PROTOC_GEN_GO_GRPC) ## Generate code from proto/ and the configuration reference
	cp $(PROTOC_GEN_GO) $(BIN)/protoc-gen-go && cp $(PROTOC_GEN_GO_GRPC) $(BIN)/protoc-gen-go-grpc
	cd proto && PATH="$(BIN):$$PATH" $(BUF) generate
	cd proto && $(BUF) build --as-file-descriptor-set --exclude-source-info -o ../plugins/python/classifier.binpb
	go run ./manifests/reference

.PHONY: release-protocol
release-protocol: $(BUF) ## Promise the protocol as it is: from then on lint refuses what breaks it
	cd proto && $(BUF) build --exclude-source-info -o released.binpb

.PHONY: web
web: ## Build the dashboard into web/dist
	cd web && npm ci --no-audit --no-fund --loglevel=error && npm run lint && npm run build

GENERATED := proto plugins/python/classifier.binpb web/dist docs/configuration.md

.PHONY: drift
drift: generate web ## Fail when committed generated code differs from what is generated
	@git diff --exit-code --stat -- $(GENERATED) && test -z "$$(git status --porcelain -- $(GENERATED))" \
		|| { echo "Generated files differ from the committed ones; run 'make generate web' and commit." >&2; exit 1; }

.PHONY: bench
bench: ## Measure throughput and latency; figures are kept in docs/benchmarks.md
	go test -run='^$$' -bench=. -benchtime=1x -timeout=30m ./app/

$(GOLANGCI_LINT):
	GOBIN=$(BIN) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(lastword $(subst -, ,$@)) && mv $(BIN)/golangci-lint $@
$(BUF):
	GOBIN=$(BIN) go install github.com/bufbuild/buf/cmd/buf@$(lastword $(subst -, ,$@)) && mv $(BIN)/buf $@
$(PROTOC_GEN_GO):
	GOBIN=$(BIN) go install google.golang.org/protobuf/cmd/protoc-gen-go@$(lastword $(subst -, ,$@)) && mv $(BIN)/protoc-gen-go $@
$(PROTOC_GEN_GO_GRPC):
	GOBIN=$(BIN) go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@$(lastword $(subst -, ,$@)) && mv $(BIN)/protoc-gen-go-grpc $@
