# Needs make and a Python 3.11 or newer, nothing else. Every path is relative: the folder's own may hold spaces.

.DEFAULT_GOAL := help
.PHONY: help run test lint check bench clean environment-run environment-dev

# An active environment must not reach into ours.
unexport VIRTUAL_ENV CONDA_PREFIX PYTHONPATH PYTHONHOME PYTHONSAFEPATH PYTHONSTARTUP

# Scripts in .venv/bin begin with their interpreter's path, which may be too long for the kernel: modules only.
python := .venv/bin/python

# The first Python that really starts and is new enough; the one in PATH may be another user's, or a shim that fails.
# One without ensurepip is the last choice: it cannot make the environment, but it can say what is missing.
pythons := python3.11 python3.12 python3.13 python3.14 python3 \
	/usr/bin/python3.11 /usr/bin/python3.12 /usr/bin/python3.13 /usr/bin/python3.14 /usr/bin/python3 /usr/local/bin/python3
define provide
@for modules in sys,ensurepip sys; do for python in "$$PYTHON" $(pythons); do \
	[ -n "$$python" ] && "$$python" -I -c "import $$modules; sys.exit(sys.version_info < (3, 11))" 2>/dev/null \
	&& exec "$$python" -I deploy/local/environment.py $(1); \
done; done; \
echo "weir: found no Python 3.11 or newer: install one, or name it with make PYTHON=/path/to/python" >&2; exit 1
endef

help: ## Show this help.
	@sed -n 's/^\([a-z]*\): [^#]*## \(.*\)/  make \1	\2/p' Makefile

run: environment-run ## Start everything on this machine; Ctrl-C stops it, the data stays in .weir.
	@exec $(python) -m deploy.local --follow-parent

test: environment-dev ## Run all tests on servers of their own. ARGS="-k name" chooses.
	@$(python) -m pytest $(ARGS)

lint: environment-dev ## Check style, types and which module may import which.
	@$(python) -m ruff check .
	@$(python) -m ruff format --check .
	@$(python) -m pyright
	@$(python) -c 'from importlinter.cli import lint_imports_command; lint_imports_command()'

check: ## Run lint and test, and see that neither leaves anything in the tree.
	@before=$$(git status --porcelain 2>/dev/null); \
	$(MAKE) --no-print-directory lint && $(MAKE) --no-print-directory test && \
	if [ "$$before" != "$$(git status --porcelain 2>/dev/null)" ]; then \
		echo "weir: the checks changed the tree:" >&2; git status --short >&2; exit 1; \
	fi

bench: environment-dev ## Measure the gateway beside nginx and a bare pass-through. ARGS go to it.
	@$(python) -m tests.bench $(ARGS)

clean: ## Remove the environment and all caches; the stack's data in .weir stays.
	@rm -rf .venv .weir/uv .weir/uv-cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache .bench
	@find . \( -name .git -o -name .weir \) -prune -o -type d -name __pycache__ -exec rm -rf {} +

environment-run:
	$(call provide,run)

environment-dev:
	$(call provide,dev)
