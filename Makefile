# Every target sets up what it needs first. `make run` and `make test` are all that a newcomer needs.
PYTHON ?= python3
PROFILE ?= sample
BIN := .venv/bin
# make setup CPU=1 takes PyTorch's CPU build, without the CUDA libraries
ifdef CPU
LOCK_FILTER := grep -v -E '^(nvidia|cuda|triton)'
INDEX := --extra-index-url https://download.pytorch.org/whl/cpu
else
LOCK_FILTER := cat
endif

GIVEN = $(if $(PHOTOS),--set "01_photos.photos=$(PHOTOS)") $(if $(READER),--set "01_photos.reader=$(READER)") \
	$(if $(IMAGES),--set "01_photos.image_root=$(IMAGES)") $(if $(SET),--set "$(SET)") $(if $(RUN_DIR),--run-dir "$(RUN_DIR)")

.PHONY: run test setup lab lint figures bench lock clean

run: .venv/ready  ## run a profile's notebooks headless: make run [PROFILE=own PHOTOS=PATH [READER=NAME] [IMAGES=FOLDER]] [SET=STEP.PARAMETER=VALUE] [RUN_DIR=FOLDER]
	$(BIN)/deep-im2gps run profiles/$(PROFILE).yaml $(strip $(GIVEN))

test: .venv/ready  ## run every test, every notebook included
	$(BIN)/python -m pytest

setup: .venv/ready  ## make .venv from the lock

.venv/ready: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed, found " + sys.version)'
	$(PYTHON) -m venv .venv
	$(LOCK_FILTER) requirements.lock > .venv/requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(INDEX) -r .venv/requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	$(BIN)/python -m ipykernel install --sys-prefix --display-name "deep-im2gps" > /dev/null
	touch $@

lab: .venv/ready  ## explore the notebooks in JupyterLab
	$(BIN)/jupyter lab --notebook-dir=notebooks

lint: .venv/ready  ## check code, notebooks and the package's layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/nbstripout --verify --keep-id notebooks/*.ipynb

figures: .venv/ready  ## draw README's pictures from runs/sample and its small tables
	$(BIN)/python figures/draw.py runs/sample

bench: .venv/ready  ## measure speed as ratios against peers
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

lock:  ## resolve pyproject.toml anew for Linux, macOS and Windows (needs uv)
	uv pip compile --universal --python-version 3.11 --all-extras --no-annotate --no-header pyproject.toml -o requirements.lock

clean:  ## remove what `make run` makes again: the environment, the made-up worlds and their run
	rm -rf .venv data/worlds runs/sample
