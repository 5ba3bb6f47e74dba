# The entry points of the project. `make` lists them; CI calls the same ones (.ci/run). No logic here: what outgrows a
# line is a program in tests/src/bin or a script in deploy/.
CARGO  ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
# Release builds inline DPDK's C functions into Rust where rustc's LLVM has its clang (docs/adr); a plain build otherwise.
LTO    := $(if $(shell command -v clang-22),--config .cargo/lto.toml)
# The whole workspace chooses features, whatever program is asked for, so that nothing is compiled twice.
RELEASE := $(CARGO) $(LTO) build --release --workspace

# Namespaces and TAPs need root; whoever is not goes through sudo.
SUDO    := $(if $(filter-out 0,$(shell id -u)),sudo)
AS_ROOT := $(if $(SUDO),--config 'target."cfg(all())".runner="sudo -E"')

# Of the fuzz targets: address or none. Each has a build of its own.
SANITIZER ?= address

.PHONY: help deps deps-build deps-peers build demo check test test-core test-dpdk test-lab test-loom golden-update docs-update check-inline bench bench-instructions bench-instructions-update bench-services fuzz fuzz-seeds doc run doctor
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-26s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps: ## install what the build and the tests need (Debian packages, Rust components, cargo-deny)
	@deploy/install-deps.sh all

deps-build: ## install what the build and the demo need
	@deploy/install-deps.sh build

deps-peers: ## install what `make bench` measures beside us: dpdk-testpmd, OVS-DPDK
	@deploy/install-deps.sh peers

build: deps-build ## build the gateway and the host agent, target/release/tidegate and tidegate-agent
	$(RELEASE) --bin tidegate --bin tidegate-agent

demo: deps-build ## start a gateway among kernel hosts, move real traffic, say what was seen (root)
	$(RELEASE) --bin tidegate --bin tidegate-agent --bin tidegate-demo
	$(SUDO) env TIDEGATE=$(abspath $(TARGET))/release/tidegate $(TARGET)/release/tidegate-demo

check: ## format, lints, licences, spelling, the OpenAPI document
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) deny --log-level error check licenses bans sources
	@if $(CARGO) deny --log-level off fetch db 2>/dev/null; then $(CARGO) deny check --disable-fetch advisories; else echo "advisories not checked: the RustSec database cannot be reached from here"; fi
	codespell
	@deploy/validate-openapi.sh $(TARGET)/venv docs/openapi.json

test: deps check test-dpdk test-lab check-inline bench-instructions test-loom ## everything

test-core: ## the part without DPDK and root: unit, packet tables, goldens, properties, architecture
	$(CARGO) test --workspace --exclude dpdk-sys --no-default-features --features tidegate-bench/control

# The same selection in all of them, so that nothing is compiled twice.
TESTED := --workspace --no-default-features --features tidegate-bench/control,tidegate-fastpath/dpdk,tidegate-control/dpdk

test-dpdk: ## that part, the DPDK rim and the daemon on vdevs, no hugepages
	$(CARGO) test $(TESTED)

test-lab: build ## the gateway among kernel hosts in network namespaces, on net_tap and net_pcap (root)
	TIDEGATE=$(abspath $(TARGET))/release/tidegate $(CARGO) $(AS_ROOT) test $(TESTED) --test lab -- --test-threads=1

test-loom: ## every interleaving of the lock-free parts
	$(CARGO) --config .cargo/loom.toml test --release -p tidegate-fastpath --lib --target-dir $(TARGET)/loom loom

golden-update: ## write the expected pcaps and counters of tests/golden anew; review the diff like code
	GOLDEN_UPDATE=1 $(CARGO) test -p tidegate-tests --test golden

docs-update: ## write the generated pages of docs anew: config, metrics, drops, commands
	GOLDEN_UPDATE=1 $(CARGO) test -p tidegate-control --no-default-features --lib manual

check-inline: build ## fail when a call to a DPDK shim function is left in the release binary (needs the clang of rustc's LLVM)
	$(if $(LTO),TIDEGATE_LTO=$(abspath $(TARGET))/release/tidegate $(CARGO) test $(TESTED) --test inline,@echo "check-inline: nothing to check, there is no clang-22 to inline DPDK's functions with")

bench: deps-build ## cycles and instructions per packet beside their targets; ARGS="--help" for more
	$(RELEASE) --bin tidegate-bench
	$(TARGET)/release/tidegate-bench $(or $(ARGS),table --peers)

# Without DPDK, so that it builds in half a minute and counts the same with every DPDK.
INSTRUCTIONS := $(CARGO) run --profile instructions -p tidegate-bench --no-default-features -- instructions --baseline bench/instructions.json

bench-instructions: ## count instructions per packet; fail when a scenario takes more than bench/instructions.json allows
	$(INSTRUCTIONS) $(ARGS)

bench-instructions-update: ## write bench/instructions.json anew, when a change of the counts is meant
	$(INSTRUCTIONS) --update

# Both builds share all that is below the packet path, so the first one is put aside.
UNCOUNTED := $(TARGET)/instructions/tidegate-bench-uncounted
bench-services: ## count what one more service costs, counters among them
	$(CARGO) build --profile instructions -p tidegate-bench --no-default-features --features uncounted
	@cp $(TARGET)/instructions/tidegate-bench $(UNCOUNTED)
	$(CARGO) run --profile instructions -p tidegate-bench --no-default-features -- services --uncounted $(UNCOUNTED) $(ARGS)

fuzz: ## run one fuzz target: make fuzz NAME=pipeline ARGS=-max_total_time=60; SANITIZER=none is faster
	@mkdir -p fuzz/corpus/$(NAME)
	cd fuzz && RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run -s $(SANITIZER) --target-dir target/$(SANITIZER) $(NAME) corpus/$(NAME) ../tests/corpus/$(NAME) -- $(ARGS)

fuzz-seeds: ## write tests/corpus/*/seed-* anew, after a change of the form of the inputs
	$(CARGO) run -p tidegate-tests --bin tidegate-fuzz-seeds

doc: ## API documentation in target/doc
	$(CARGO) doc --workspace --no-deps

run: build ## run the gateway in the foreground: make run CONFIG=file.yaml (root)
	$(SUDO) $(TARGET)/release/tidegate run --config $(CONFIG)

doctor: ## say what this machine lacks to run a gateway: permission, hugepages, TAPs, namespaces, lcores
	@$(CARGO) run -q -p tidegate-control --bin tidegate -- doctor
