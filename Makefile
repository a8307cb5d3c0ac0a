# Everything here needs only Go and make; what else is used (openssl, mosquitto) is used where it is installed.
GO ?= go
BIN := bin/vaultmesh

PAGE := api/http/page/built/verify.html

.PHONY: build verify-page verifier demo run test peers check bench soak fuzz race clean

build:
	$(GO) build -trimpath -o $(BIN) ./cmd/vaultmesh

# The page with which a browser verifies bundles: one file, for a disk or for /verify of a node that is built after it.
verify-page:
	@mkdir -p bin
	GOOS=js GOARCH=wasm CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags '-s -w -buildid=' -o bin/verify.wasm ./cmd/vaultmesh-verify/browser
	$(GO) run ./cmd/vaultmesh-verify/makepage bin/verify.wasm $(PAGE)

# The verifier alone. The same source and Go give the same bytes on every machine.
verifier:
	CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags '-s -w -buildid=' -o bin/vaultmesh-verify ./cmd/vaultmesh-verify
	@sha256sum bin/vaultmesh-verify

# The whole story in under a minute: see README.
demo: build
	$(BIN) demo --out $${OUT:-demo-out}

# A grid, a node and a time-stamp authority until Ctrl-C.
run: build
	$(BIN) run

# Foreign programs are used where they are there ("make peers"); the last lines say which are not.
test:
	$(GO) test -timeout 14m ./...
	@$(GO) test -count=1 -v -run TestPeers ./test/peers | sed -n 's/^ *peers_test.go:[0-9]*: \(ABSENT.*\|.*peers are absent.*\)/\1/p'

# Nodes of public chains, authorities, stores and verifiers written by others, for the tests: Debian's packages where
# this is root's machine, the rest built or installed into the user's cache folder.
peers:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then ./test/peers/debian; fi
	VAULTMESH_FETCH_PEERS=1 $(GO) test -count=1 -timeout 40m -v -run TestPeers ./test/peers

# The race detector needs a C compiler.
race:
	$(GO) test -race -timeout 30m ./...

check:
	@out=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$out" ]; then echo "gofmt would change:"; echo "$$out"; exit 1; fi
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	$(GO) test -count=1 -run 'TestFloors|TestDocLinks' .

# Measures on this machine, and rewrites what docs/performance.md says was measured.
bench: build
	$(GO) build -trimpath -o bin/bench-tessera ./bench/tessera
	$(BIN) bench all | tee bin/bench.txt
	@{ sed '/^<!-- measured/q' docs/performance.md; echo; echo '```text'; cat bin/bench.txt; echo '```'; } > bin/performance.md && mv bin/performance.md docs/performance.md

# The long campaigns: kill -9 of a node and of a log, power losses, ten million receipts (ten gigabytes in the system's
# temporary folder), the official parser over the whole suite. docs/campaigns.md says what they last showed.
soak: build
	VAULTMESH_SOAK=1 $(GO) test -count=1 -timeout 60m -v -run 'Soak' ./test/...
	$(GO) test -count=1 -v -run 'PowerLoss' ./journal -power-cuts 2000
	VAULTMESH_SOAK=1 VAULTMESH_SOAK_RECEIPTS=10000000 $(GO) test -count=1 -timeout 90m -v -run 'Soak' ./lawchain/fsck

# Every fuzzer for FUZZTIME, one after the other on all cores; FUZZ=dtdl takes those of packages so named.
FUZZTIME ?= 1m
FUZZ ?= .
fuzz:
	@for p in $$($(GO) list ./... | grep -e '$(FUZZ)'); do for f in $$($(GO) test -list '^Fuzz' $$p | grep '^Fuzz'); do \
	  echo "$$p $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x $$p || exit 1; done; done

clean:
	rm -rf bin demo-out $(PAGE)
