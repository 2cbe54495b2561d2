# gatewayd: everything a developer runs. "make demo" and "make test" need only
# Debian, Go, git and make; they fetch the rest.

GO       ?= go
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS  := -s -w -X main.version=$(VERSION)
VULNDB   := $(abspath ../shared/corpora/govulndb)
FUZZTIME ?= 10s

.PHONY: help build build-pkcs11 demo test test-packages lint vuln fuzz crash powercut faults year bench bench-peers bench-packages clean

help: ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

build: ## build bin/gatewayd (static, no cgo)
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/gatewayd ./cmd/gatewayd

build-pkcs11: ## build bin/gatewayd-pkcs11 with PKCS #11, for the key agent (needs a C compiler and glibc)
	CGO_ENABLED=1 $(GO) build -trimpath -tags pkcs11 -ldflags '$(LDFLAGS)' -o bin/gatewayd-pkcs11 ./cmd/gatewayd

demo: build ## run the whole story on this machine: gateway and both simulated platforms
	bin/gatewayd demo $(DEMO)

test: test-packages lint ## lint, then every test with the race detector
	$(GO) test -race -shuffle=on -timeout 14m ./...
	$(GO) test -race -tags pkcs11 -timeout 5m ./crypto/hsm/
	$(GO) test -tags pkcs11 -run PKCS11 -timeout 5m ./cmd/gatewayd/

test-packages: ## install the Debian packages that the tests need (when root; else name them)
	@scripts/test-packages

lint: ## gofumpt, go vet, staticcheck, and govulncheck where its database lies
	@out=$$($(GO) tool gofumpt -l .); if [ -n "$$out" ]; then echo "not gofumpt-ed:"; echo "$$out"; exit 1; fi
	$(GO) vet ./...
	$(GO) vet -tags failpoints,faults ./cmd/gatewayd/
	$(GO) vet -tags pkcs11 ./cmd/gatewayd/ ./crypto/hsm/
	$(GO) tool staticcheck ./...
	$(GO) tool staticcheck -tags failpoints,faults ./cmd/gatewayd/
	$(GO) tool staticcheck -tags pkcs11 ./cmd/gatewayd/ ./crypto/hsm/
	@$(MAKE) --no-print-directory vuln

vuln:
	@if [ -d '$(VULNDB)' ]; then $(GO) tool govulncheck -db 'file://$(VULNDB)' ./...; \
	else echo "govulncheck skipped: no offline database at $(VULNDB)"; fi

fuzz: ## run every fuzz target for FUZZTIME (default 10s)
	scripts/fuzz $(FUZZTIME)

crash: N ?= 1000
crash: ## kill the gateway under load, N times (default 1000) at random and once at every failpoint (docs/faults.md)
	GATEWAYD_KILLS=$(N) GATEWAYD_FAILPOINTS=1 $(GO) test -run 'TestKill|TestStopUnderLoad|Failpoints' -timeout 180m -v ./cmd/gatewayd/

powercut: N ?= 50
powercut: test-packages ## cut the power of the whole data folder under load, N times (default 50; as root)
	GATEWAYD_POWERCUTS=$(N) $(GO) test -tags faults -p 1 -run 'TestPowerCut' -timeout 120m -v ./cmd/gatewayd/ ./vault/

faults: test-packages ## every call fails once, full and broken disks, little memory, few descriptors (docs/faults.md; some as root)
	GATEWAYD_CALLS=1 $(GO) test -tags faults -p 1 -timeout 120m -v ./cmd/gatewayd/ \
		-run 'Call|DiskBreaks|DiskFull|InodesFull|ReadOnly|FewDescriptors|LittleMemory|TwoDaemons|NothingRunsOn'

year: N ?= 10000
year: ## a year of N messages (default 10000) in virtual time, every hour checked (docs/retention.md)
	GATEWAYD_YEAR=$(N) $(GO) test -run 'TestYear$$' -timeout 60m -v ./gateway/

bench: build test-packages ## measure gatewayd beside other mail systems (PEERS, WORKLOADS, SIZES, SESSIONS, REPS, T: docs/performance.md)
	$(GO) build -o bin/bench ./bench
	bin/bench

bench-peers: ## fetch Exim, OpenSMTPD and chasquid from Debian for make bench (as root)
	$(GO) build -o bin/bench ./bench
	bin/bench unpack

bench-packages: ## benchmarks of the packages
	$(GO) test -run '^$$' -bench . -benchtime 2s ./...

clean: ## remove what was built
	rm -rf bin
