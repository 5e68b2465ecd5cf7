# What this project can be told to do. Each target is a script of scripts/, which can be run by hand as well.
.DEFAULT_GOAL := help
.PHONY: bench-attach bench-bgp bench-mesh bench-policy help deps build release image demo demo-down test test-unit test-house test-kernel test-lab test-labs test-cnitool test-cases test-differential fuzz fmt clippy doc clean install

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

deps: ## install the Debian packages that are missing
	@scripts/deps

build: ## build for the demo and the tests
	@scripts/build

release: ## build for an installation, the CNI plugin static
	@scripts/build release

image: ## the container image routenet:latest (docker)
	@scripts/image

demo: ## three hosts, two networks, workloads, policies: deployed, proved, shown (sudo make demo)
	@scripts/demo

demo-down: ## end the demo's lab; nothing of it is left
	@scripts/demo-down

test: ## everything: format, lints, documentation, all tests, leftovers (sudo make test)
	@scripts/test

test-unit: ## the tests beside the code; no root needed
	@bash -c '. scripts/lib.sh && check_rust && cargo_ test --workspace --lib --bins'

test-house: ## the house rules: imports, sizes of files
	@bash -c '. scripts/lib.sh && check_rust && cargo_ test --test house'

test-kernel: ## planes against this kernel, in fresh namespaces (root)
	@scripts/test kernel

test-lab: ## the lab runner, with BIRD and FRR as nodes (root)
	@scripts/test lab

test-cnitool: ## the plugin called by cnitool, on a machine with Go (root)
	@scripts/test-cnitool

test-cases: ## verdicts that others gave, by evaluator and kernel: CASES=DIR (root)
	@scripts/test-cases $(CASES)

test-differential: ## policy judged three ways on random clusters: COUNT=N SEED=N (root)
	@COUNT=$(or $(COUNT),2000) SEED=$(SEED) scripts/test-cases --random

fuzz: ## feed fuzz targets: TARGET=bgp_decode (each without it) SECONDS=60
	@scripts/fuzz "$(TARGET)" $(or $(SECONDS),60)

test-labs: ## the labs of config/labs, with cables and power taken away (root)
	@scripts/test labs

bench-attach: ## ADD and DEL beside ptp + host-local, release build (root)
	@scripts/bench-attach

bench-bgp: ## the BGP speaker beside BIRD, FRR, GoBGP and OpenBGPD, release build (root)
	@scripts/bench-bgp

bench-policy: ## start, a label, a rule, a stream of updates, a packet: each beside another way, release build (root)
	@scripts/bench-policy

bench-mesh: ## 500 nodes in memory under a virtual clock: full mesh beside reflectors, release build
	@scripts/bench-mesh $(NODES)

fmt: ## format
	@bash -c '. scripts/lib.sh && cargo_ fmt --all'

clippy: ## lints, as errors
	@bash -c '. scripts/lib.sh && cargo_ clippy --workspace --all-targets -- -D warnings'

doc: ## the documentation of the code, warnings as errors
	@bash -c '. scripts/lib.sh && as_builder env RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps'

clean: ## remove what was built
	@bash -c '. scripts/lib.sh && cargo_ clean'

install: ## a release build to /usr/local and /opt/cni/bin (root)
	@scripts/install
