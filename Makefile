# The commands of this project. `make help` explains them.
.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory

CARGO ?= cargo
# Extra arguments for the test runner: make test TESTS=golden
TESTS ?=

.PHONY: help demo test corpus nightly rotation regress check build bench bench-quick bench-instructions

help: ## this text
	@echo "Weir: a pooling gateway. Nothing but a Rust toolchain is needed; each target installs what it lacks and says so."
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  make demo URL=postgres://user:password@host/database    the demo on a database of yours (it only reads)"
	@echo "  make test TESTS=golden                                  only the tests whose name contains this"
	@echo "  make regress RUNS=through [ROTATION=1]                  through only, as against the last direct runs; with ever another server connection"
	@echo "  make bench BENCH='--only TLS'                           only the cells whose name contains this; bench/run --help has more"
	@echo "  WEIR_TEST_DIRECT=1 make test TESTS=golden               the end-to-end tests against PostgreSQL itself: the tests' own check"
	@echo "  WEIR_TEST_MSSQL='Server=tcp:host,1433;Database=d;UID=u;PWD=p' make test TESTS=mssql_oracle   a real SQL Server"
	@echo "  WEIR_TEST_LOG=debug make test TESTS=golden              with the gateway's log at this level, printed when a test fails"

demo: ## 200 clients over 5 server connections, live, in both protocols; ends with Ctrl-C and leaves nothing behind
	@scripts/install-test-dependencies server
	@$(CARGO) build --quiet --workspace --bins
	@target=$$($(CARGO) metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/'); \
	exec "$$target/debug/weir-demo" $(if $(URL),--url "$(URL)")

build: ## everything that the tests run, once
	@$(CARGO) build --workspace --bins

# Plain `cargo test` on purpose, not nextest: the end-to-end tests of one process share one PostgreSQL cluster, and take
# turns on the machine through one lock (tests/src/turn.rs).
test: build ## every test but the long ones, with what they need installed first
	@scripts/install-test-dependencies
	@$(if $(TESTS),:,$(MAKE) corpus)
	@$(CARGO) test --workspace --no-fail-fast -- $(TESTS)

corpus: ## replays what the fuzz targets have found so far; part of make test
	@cd fuzz && CARGO_TARGET_DIR="$${CARGO_TARGET_DIR:-../target}" $(CARGO) test --quiet --no-default-features

nightly: build ## the long ones, which `make test` leaves out
	@scripts/install-test-dependencies
	@$(CARGO) test --workspace --no-fail-fast -- --ignored $(TESTS)

# Built in place, as `make regress ROTATION=1` does; `make build` puts the ordinary gateway back.
rotation: ## the oracle and SQL Server's drivers with ever another server connection, for both protocols
	@scripts/install-test-dependencies
	@$(CARGO) build --workspace --bins
	@$(CARGO) build -p weir --features rotation
	@$(CARGO) test -p weir-tests --test e2e --no-fail-fast -- $(or $(TESTS),oracle mssql_drivers mssql_gateway)
	@$(MAKE) build

regress: ## PostgreSQL's own regression suite, directly and through the gateway, and what differs
	@scripts/install-test-dependencies server
	@CARGO="$(CARGO)" REGRESS_ROTATION="$(ROTATION)" scripts/regress $(RUNS)

bench: ## Weir beside PgBouncer and beside no pooler, about an hour on an otherwise idle machine
	@scripts/install-test-dependencies server
	@bench/run $(BENCH)

bench-quick: ## the same in some minutes, with fewer clients and rounds
	@scripts/install-test-dependencies server
	@bench/run --quick $(BENCH)

bench-instructions: ## what a transaction costs in instructions and system calls, beside PgBouncer; exact on a busy machine, too
	@scripts/install-test-dependencies server
	@bench/run --instructions $(BENCH)

check: ## format, lints and documentation, each without a single warning
	@$(CARGO) fmt --all --check
	@$(CARGO) clippy --workspace --all-targets --quiet -- -D warnings
	@RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --quiet
	@if command -v cargo-deny >/dev/null; then cargo deny --offline check bans licenses sources; fi
