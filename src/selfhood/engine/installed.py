"""What a backend needs beside this package; asked before a model is looked for."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from selfhood.errors import InputError
from selfhood.recipe import BackendOptions

PYTHON = "SELFHOOD_VLLM_PYTHON"
SECONDS_TO_LOOK = 60
LOOK = "import importlib.util, sys; sys.exit(importlib.util.find_spec('vllm') is None)"


def check_backend(options: BackendOptions) -> None:
    """Raises InputError, with the command that installs it, for one that is not there."""
    if options.infer_backend == "vllm":
        vllm_python(options)
    if options.infer_backend == "llamacpp" and find_spec("xllamacpp") is None:
        raise InputError(
            "needs xllamacpp, which holds llama.cpp",
            where="--infer_backend llamacpp",
            hint='pip install "selfhood[llamacpp]"',
        )


def vllm_python(options: BackendOptions) -> str:
    """The interpreter that has vllm: the one that is named, else this one."""
    named = options.vllm_python or os.environ.get(PYTHON)
    if named is not None:
        return _looked_at(named)
    if find_spec("vllm") is not None:
        return sys.executable
    raise InputError(
        "vllm is not installed for this Python, and it wants an environment of its own",
        where="--infer_backend vllm",
        hint="python3 -m venv vllm-env && vllm-env/bin/pip install vllm, then add --vllm_python "
        "vllm-env/bin/python (docs/backends.md, also without a GPU)",
    )


def _looked_at(named: str) -> str:
    path = str(Path(named).expanduser()) if "/" in named else named
    try:
        looked = subprocess.run(
            [path, "-c", LOOK], capture_output=True, timeout=SECONDS_TO_LOOK, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError(f"cannot be run: {error}", where=f"--vllm_python {named}") from error
    if looked.returncode:
        raise InputError(
            "has no vllm", where=f"--vllm_python {named}", hint=f"{named} -m pip install vllm"
        )
    return path
