# Everything here needs only Go and make; what else is used (openssl, mosquitto) is used where it is installed.
GO ?= go
BIN := bin/vaultmesh

.PHONY: build demo run test check bench soak fuzz race clean

build:
	$(GO) build -trimpath -o $(BIN) ./cmd/vaultmesh

# The whole story in under a minute: see README.
demo: build
	$(BIN) demo --out $${OUT:-demo-out}

# A grid, a node and a time-stamp authority until Ctrl-C.
run: build
	$(BIN) run

test:
	$(GO) test -timeout 14m ./...

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
	$(BIN) bench all | tee bin/bench.txt
	@{ sed '/^<!-- measured/q' docs/performance.md; echo; echo '```text'; cat bin/bench.txt; echo '```'; } > bin/performance.md && mv bin/performance.md docs/performance.md

# Fifty rounds of kill -9 under load, and the long campaigns.
soak: build
	VAULTMESH_SOAK=1 $(GO) test -count=1 -timeout 60m -v -run 'Soak' ./test/...

FUZZTIME ?= 1m
fuzz:
	@for p in $$($(GO) list ./...); do for f in $$($(GO) test -list '^Fuzz' $$p | grep '^Fuzz'); do \
	  echo "$$p $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) $$p || exit 1; done; done

clean:
	rm -rf bin demo-out
