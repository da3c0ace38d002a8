# The commands of a developer. `make demo` and `make test` do all their own set-up on a Debian machine with Rust.

.PHONY: demo test bench failpoints sim chaos fuzz mutate fmt lint ci

demo: ## Build, and show the main job on a sample service.
	cargo run --quiet -p orchestrate-cli -- demo

test: ## Install what the tests need, start the servers they use, run every test.
	scripts/install-test-tools
	scripts/with-docker scripts/with-postgres cargo test --workspace --no-fail-fast
	$(FAILPOINTS) -- --test-threads=8

bench: ## Measure against HAProxy, nginx, caddy and a Docker swarm on this machine, fifty environments on PostgreSQL, and what a hundred cost.
	scripts/install-test-tools
	cargo build --release -p orchestrate-cli -p orchestrate-testkit
	target/release/orchestrate-bench --orchestrate target/release/orchestrate

# The whole workspace, so that it is built with what the other tests were built with.
FAILPOINTS = cargo test --workspace --features orchestrate-cli/failpoints --test failpoints

failpoints: ## Something happens at every effect, at each where somebody comes by; SEED for the same order again.
	ORCHESTRATE_FAILPOINTS_SECONDS=$(or $(SECONDS),0) $(if $(SEED),ORCHESTRATE_FAILPOINTS_SEED=$(SEED)) \
		$(FAILPOINTS) -- --test-threads=8 --nocapture

ROUNDS ?= 1000

chaos: ## Real kills of the release program at random instants, in ROUNDS rounds; SEED plays the same ones again.
	scripts/install-test-tools
	cargo build --release -p orchestrate-cli
	LUCK_PROGRAM=$(CURDIR)/target/release/orchestrate ORCHESTRATE_CHAOS_ROUNDS=$(ROUNDS) \
		$(if $(SEED),ORCHESTRATE_CHAOS_SEED=$(SEED)) $(if $(PLAYERS),ORCHESTRATE_CHAOS_PLAYERS=$(PLAYERS)) \
		cargo test -p orchestrate-cli --test chaos -- --nocapture

sim: ## Play whole histories by chance, SEEDS of them from FIRST on; SEED=N tells the story of one.
	SIM_SEEDS=$(or $(SEEDS),100000) SIM_FIRST=$(or $(FIRST),0) $(if $(SEED),SIM_SEED=$(SEED)) \
	cargo test --profile sim -p orchestrate-core --lib simulation -- --nocapture

fuzz: ## Feed every fuzz target for SECONDS (600), or one: `make fuzz TARGET=http SECONDS=3600`.
	scripts/install-test-tools
	scripts/fuzz $(or $(SECONDS),600) $(TARGET)

mutate: ## Break the code at one place after another and see its tests fail; PART=proxy for those of mutations/proxy.
	scripts/install-test-tools
	scripts/with-postgres scripts/mutate $(PART)

fmt: ## Format everything.
	cargo fmt --all

lint: ## What CI checks beside the tests.
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo clippy --workspace --features orchestrate-cli/failpoints --lib --bins --test failpoints -- -D warnings
	cargo deny check bans licenses sources

ci:
	.ci/run
