# `make demo` and `make test` set up all they need; `make help` lists the rest.

PYTHON ?= $(or $(shell command -v python3.11),python3)
# PyTorch's index of CPU wheels: the default index would bring gigabytes of CUDA along.
TORCH_INDEX_URL ?= https://download.pytorch.org/whl/cpu
SAM_CLI_VERSION := 1.170.0
CHECKOV_VERSION := 3.3.30
# Every format of models, for the tests; a service needs the one of its own.
EXTRAS := torch,onnx,sklearn,xgboost,lightgbm,server,cli,compile,dev

VENV := .venv
# aws-sam-cli pins versions that clash with ours, so it has an environment of its own.
TOOLS_VENV := .venv-tools
# checkov as well.
CHECK_VENV := .venv-check
BIN := $(VENV)/bin
SAM := SAM_CLI_TELEMETRY=0 $(TOOLS_VENV)/bin/sam
VENV_READY := $(VENV)/.ready
TOOLS_READY := $(TOOLS_VENV)/.sam-$(SAM_CLI_VERSION)
CHECK_READY := $(CHECK_VENV)/.checkov-$(CHECKOV_VERSION)
TEMPLATES := template.yaml infra/efs.yaml infra/observability.yaml infra/registry.yaml
# The wheel of aws-sam-cli carries AWS's Runtime Interface Emulator.
MACHINE := $(subst aarch64,arm64,$(shell uname -m))
RIE = $(wildcard $(TOOLS_VENV)/lib/python3*/site-packages/samcli/local/rapid/aws-lambda-rie-$(MACHINE))

.PHONY: help setup demo serve test coverage test-full check format lock image local docs bench bench-flavours bench-growth bench-peers clean

help: ## List the targets.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

setup: $(VENV_READY) $(TOOLS_READY) ## Create both virtual environments; quick when nothing changed.

$(VENV_READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	@# One try at the CPU index; where it cannot be reached, the default index serves torch below.
	-@$(BIN)/pip install --quiet --no-deps --constraint constraints.txt --retries 0 --timeout 5 \
		--index-url $(TORCH_INDEX_URL) torch || echo "CPU index not reached: torch comes from the default index"
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[$(EXTRAS)]'
	@touch $@

$(TOOLS_READY):
	$(PYTHON) -m venv $(TOOLS_VENV)
	$(TOOLS_VENV)/bin/pip install --quiet aws-sam-cli==$(SAM_CLI_VERSION)
	@chmod +x $(TOOLS_VENV)/lib/python3*/site-packages/samcli/local/rapid/aws-lambda-rie-*
	@touch $@

$(CHECK_READY):
	$(PYTHON) -m venv $(CHECK_VENV)
	$(CHECK_VENV)/bin/pip install --quiet checkov==$(CHECKOV_VERSION) check-jsonschema==0.39.0
	@touch $@

demo: setup ## The main job: the demo model behind the real Lambda runtime interface.
	@$(BIN)/python -m handler.demo $(RIE)

serve: setup ## Serve with hypercorn at http://127.0.0.1:3000, reloading on changes.
	$(BIN)/infernet-lambda serve --reload

test: setup ## All tests that this machine can run; the last lines say what was skipped and why.
	$(BIN)/python -m pytest

coverage: setup ## The same, and which lines of the handler no test runs: a quarter slower.
	$(BIN)/python -m pytest --cov --cov-report=term

test-full: test ## All tests, and the long ones: 150,000 bodies that nobody should send, 300 kills.
	FUZZ_CASES=50000 TYPED_CASES=100000 KILLS=300 $(BIN)/python -m pytest --timeout 1800 \
		tests/test_fuzz.py tests/test_typed_buffers.py tests/integration/test_shared_cache.py

check: setup $(CHECK_READY) ## Format, lint, types, templates.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/cfn-lint $(TEMPLATES)
	$(SAM) validate --lint --region us-east-1
	$(CHECK_VENV)/bin/checkov --quiet --compact --skip-download $(addprefix -f ,$(TEMPLATES))
	$(CHECK_VENV)/bin/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml

format: setup ## Rewrite the code to the one style.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: ## Renew constraints.txt from what pyproject.toml allows today.
	$(PYTHON) -m venv --clear $(VENV)
	-$(BIN)/pip install --quiet --retries 0 --timeout 5 --index-url $(TORCH_INDEX_URL) torch
	$(BIN)/pip install --quiet '.[$(EXTRAS)]'
	(sed -n '/^#/p' constraints.txt; $(BIN)/pip freeze --exclude infernet-lambda | sed 's/+cpu$$//') > constraints.new
	mv constraints.new constraints.txt

image: setup ## Build the container image, as sam build does.
	$(SAM) build

local: image ## Serve the image with sam local at http://127.0.0.1:3000.
	$(SAM) local start-api

docs: setup ## Build the documentation's pages in .site.
	$(BIN)/python docs/generate.py
	$(BIN)/mkdocs build --quiet

bench: setup ## Print every benchmark, as ratios to a baseline in the same run.
	$(BIN)/python -m bench.load
	$(BIN)/python -m bench $(RIE)

bench-flavours: setup ## Size, memory and cold start of the image for each format; needs Docker.
	$(BIN)/python -m bench.flavours $(RIE)

bench-growth: setup ## Latency against the size of input and model, and environments at once; needs Docker.
	$(BIN)/python -m bench.growth $(RIE)

bench-peers: setup ## Other model servers beside ours, under load; TorchServe needs Java 17.
	$(BIN)/python -m bench.peers

clean: ## Remove what the targets above made.
	rm -rf $(VENV) $(TOOLS_VENV) $(CHECK_VENV) .venv-peers .aws-sam .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache .screenshots .site
