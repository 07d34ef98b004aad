# The few commands of this repository.
.DEFAULT_GOAL := help
.PHONY: help parts test demo bench crds cargo

help: ## lists these targets
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 16

parts: ## makes, once, what the demo runs against (control plane, helm)
	@tests/kit/parts

# what failed is to stand at the end of the output, and not before a thousand frames of async code
test: export RUST_BACKTRACE = 0
test: ## formatting, lints, and every test, those of the ledger on both databases, always on a control plane of its own
	@env -u KUBECONFIG tests/kit/parts --all
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	env -u KUBECONFIG cargo test --workspace
	ROLLCALL_TEST_LEDGER=postgres cargo test --lib -- \
		controllers:: gateway:: health:: ledger::
	env -u KUBECONFIG ROLLCALL_TEST_LEDGER=postgres cargo test --test it -- \
		directories:: operations:: restore:: scim:: story:: teams::

demo: parts ## plays the story on a real API server and keeps running (ONCE=1: ends after it)
	cargo build --bins
	@ONCE='$(ONCE)' exec cargo run --quiet --bin demo

bench: ## measures a release build (ONLY=domains, scim, saml, sign-in or teams; LEDGER=postgres; SIZE=500 for a quick try)
	@tests/kit/parts --bench
	@ONLY='$(ONLY)' LEDGER='$(LEDGER)' SIZE='$(SIZE)' exec cargo bench --bench main

crds: cargo ## writes crds/ and the chart's copy from the types
	UPDATE_EXPECT=1 cargo test --test it generated

cargo:
	@command -v cargo >/dev/null || { echo "cargo is missing: Rust 1.89 or newer, from https://rustup.rs or Debian's package rustup" >&2; exit 1; }
