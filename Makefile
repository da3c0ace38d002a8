# The commands of a developer. `make demo` and `make test` do all their own set-up on a Debian machine with Rust.

.PHONY: demo test bench fmt lint ci

demo: ## Build, and show the main job on a sample service.
	cargo run --quiet -p orchestrate-cli -- demo

test: ## Install what the tests need, start the servers they use, run every test.
	scripts/install-test-tools
	scripts/with-postgres cargo test --workspace --no-fail-fast

bench: ## Measure against HAProxy, nginx and caddy on this machine.
	scripts/install-test-tools
	cargo build --release -p orchestrate-cli -p orchestrate-testkit
	target/release/orchestrate-bench --orchestrate target/release/orchestrate

fmt: ## Format everything.
	cargo fmt --all

lint: ## What CI checks beside the tests.
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo deny check bans licenses sources

ci:
	.ci/run
