# What a newcomer types. Meson does the building; this file only names the ways in.
BUILD ?= build
MESON ?= meson

.PHONY: all setup build program demo demo-chain test bench soak interop contracts lint format install uninstall clean

all: build

setup:
	@tools/setup

$(BUILD)/build.ninja: | setup
	@$(MESON) setup $(BUILD) >/dev/null

build: setup $(BUILD)/build.ninja
	@ninja -C $(BUILD) --quiet

# The binary alone: $(BUILD)/emac.
program: setup $(BUILD)/build.ninja
	@ninja -C $(BUILD) --quiet emac

# The main job, start to end: coordinator, three rigs, one killed, one joining, model, money.
demo: program
	@tests/e2e/demo.sh $(BUILD)/emac

# The money on a chain: contracts on anvil (npm), a deposit, a paid job, an epoch, a claim, the books.
demo-chain: program
	@tests/e2e/demo-chain.sh $(BUILD)/emac || [ $$? -eq 77 ] # skipped: it says why

# Every test; closes with "N passed, N failed". Under 20 minutes on 2 cores.
test: build
	@tests/run $(BUILD)

# Figures against named peers: a table, and build/bench.json.
bench: build
	@bench/run $(BUILD)

# Long campaigns: 200 random kills, longer fuzzing, exhaustive function checks.
soak: build
	@tests/soak.sh $(BUILD)

# Real peers (PyTorch, transformers, openai clients, IPFS tools), installed by script.
interop: build
	@tests/interop/run $(BUILD)

# The Solidity contracts: compiled, compared with contracts/abi, tested on anvil. Needs node and npm;
# nothing else here does, because contracts/abi is committed.
contracts:
	@cd contracts && npm ci --silent --no-audit --no-fund && npm test --silent

lint: setup
	@tools/tidy
	@tools/docs
	@tools/format --check

format:
	@tools/format

install: build
	@$(MESON) install -C $(BUILD)

# What the last install put there.
uninstall:
	@ninja -C $(BUILD) --quiet uninstall

clean:
	rm -rf $(BUILD) build-*
