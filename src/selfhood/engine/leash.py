"""Runs a module as ``python -m`` would, and ends it, with all that it started, when its parent
ends.

    python leash.py MODULE [ARGUMENT ...]    standard input: a pipe that the parent holds open

A pipe closes however its owner dies, SIGKILL included. This file runs under other interpreters
than ours, so it needs the standard library only.
"""

import sys

del sys.path[0]  # this folder, whose files are called like other people's packages

import os  # noqa: E402
import runpy  # noqa: E402
import signal  # noqa: E402
import threading  # noqa: E402


def watch_parent() -> None:
    while os.read(0, 4096):
        pass
    os.killpg(os.getpgid(0), signal.SIGKILL)


if __name__ == "__main__":
    threading.Thread(target=watch_parent, daemon=True).start()
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
