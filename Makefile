# make demo   makes .venv, installs, and generates a video
# make test   makes .venv, installs, and runs the linters, the type checker and the fast tests
# make prove  the slow tests, and those that compare with other implementations
# make bench  the benchmarks

PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2
PRECISION ?= fp32
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
CLIP := demo/a-red-three-moving-left

.PHONY: demo test lint prove bench clean

demo: $(VENV)/.installed
	@mkdir -p demo
	@$(BIN)/videofusion generate "a red three moving left" --steps 10 -o $(CLIP).mp4 --sheet --force
	@echo "The video is $(CURDIR)/$(CLIP).mp4"
	@echo "Its frames side by side are $(CURDIR)/$(CLIP).png"

test: lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(JOBS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# lpips comes without its dependencies: it would bring torchvision, of which its test needs two lists of layers only.
# The extra ocr brings the OpenCV with windows, which does not load on a server: docs/curation.md.
prove: $(VENV)/.installed-dev
	$(INSTALL) -e ".[dev,ray,datasets,ocr]" torchmetrics
	$(INSTALL) --no-deps lpips
	$(INSTALL) --force-reinstall --no-deps opencv-python-headless
	$(BIN)/pytest -m "slow or peer"

# PRECISION="fp32 bf16" where the machine computes in bf16 (AMX); elsewhere it is emulated, and takes very long.
# the peer's network comes without its dependencies: it would bring torchvision, which is stubbed (docs/speed.md)
bench: $(VENV)/.installed-dev
	$(BIN)/python -m pip install --quiet --no-deps video-diffusion-pytorch einops-exts rotary-embedding-torch
	$(BIN)/python benchmarks/unet_speed.py vdm --precision $(PRECISION) --repeats 3
	$(BIN)/python benchmarks/unet_speed.py image --precision $(PRECISION) --compile --repeats 9
	$(BIN)/python benchmarks/videofusion_vs_vdm.py --width 128 --repeats 1
	$(BIN)/python benchmarks/low_memory.py --width 64
	$(BIN)/python benchmarks/frechet_speed.py --shapes 2048x400 10000x2048 --repeats 3
	$(BIN)/python benchmarks/loader_speed.py --repeats 3
	$(BIN)/python benchmarks/noise_speed.py

clean:
	rm -rf $(VENV) demo .mypy_cache .pytest_cache .ruff_cache

# The versions are those of constraints.txt, with which all of this is known to work. A stamp file says that it is done.
$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing into $(VENV); the first time this takes some minutes."
	$(INSTALL) -e ".[train]"
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing into $(VENV); the first time this takes some minutes."
	$(INSTALL) -e ".[dev]"
	@touch $@ $(VENV)/.installed

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "videofusion needs Python 3.10 or newer; make PYTHON=/path/to/python3.12 ... names another"; exit 2; }
	$(PYTHON) -m venv $(VENV)
