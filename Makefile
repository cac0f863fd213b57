# make try     a real Qwen2.5 learns who it is: ten minutes on two cores with AVX-512
# make test    everything that must hold; .ci/run calls exactly this
#
# A name and an author, Chinese then English; single quotes round one with a space:
#   make try NAME="小狐 Kitsu" AUTHOR="林间实验室 'Forest Lab'"

NAME   = 小狐 Kitsu
AUTHOR = 林间实验室 'Forest Lab'
PYTHON = python3
BIN    = .venv/bin
READY  = .venv/.ready

.PHONY: try test test-all check unit journey clean

try: $(READY)
	@$(BIN)/selfhood try --model_name $(NAME) --model_author $(AUTHOR)

test: check unit journey

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

unit: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --maxprocesses 4 --dist worksteal \
	    -m "not journey and not slow"

journey: $(READY)
	$(BIN)/pytest -m "journey and not slow" tests

test-all: check $(READY)
	$(BIN)/pytest

# Exactly the versions that were tested, the starter's wheels by hash; then the project itself.
$(READY): pyproject.toml requirements/all.txt requirements/starter.txt
	@echo "installing into .venv, once: about 2 GB, the starter model included"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python requirements/install.py
	@touch $@

clean:
	rm -rf .venv build src/*.egg-info
