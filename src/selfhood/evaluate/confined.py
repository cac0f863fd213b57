"""The inner half of the sandbox: shuts itself in, then runs a program from stdin and its checks.

Started by ``sandbox`` as a script of its own, in an empty folder and with an empty environment; it
imports nothing of this house. What happened goes to stdout as one JSON object; the program's own
output goes nowhere.

Each wall stands where the system lets an ordinary user build it:

    limits          CPU time, memory, file size, open files                  POSIX
    no processes    RLIMIT_NPROC; root first becomes nobody, whom it binds   POSIX
    no network      an empty network namespace                               Linux
    no writing      all mounts read-only, a small tmpfs as the folder        Linux >= 5.12
    no survivors    a process namespace, which ends with its first process   Linux
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

NOBODY = 65534
MEBI = 1 << 20
LIMITS = {
    resource.RLIMIT_AS: 512 * MEBI,
    resource.RLIMIT_FSIZE: MEBI // 4,
    resource.RLIMIT_NOFILE: 32,
    resource.RLIMIT_CORE: 0,
    resource.RLIMIT_NPROC: 1,
}
NEW_MOUNTS, NEW_USER, NEW_PROCESSES, NEW_NETWORK = 0x20000, 0x10000000, 0x20000000, 0x40000000
RECURSIVE, PRIVATE = 0x4000, 0x40000
MOUNT_SETATTR, AT_FDCWD, AT_RECURSIVE, READ_ONLY = 442, -100, 0x8000, 1
DIE_WITH_PARENT, MAY_BE_TRACED = 1, 4
USUAL_MODULES = (
    "bisect", "collections", "copy", "dataclasses", "datetime", "decimal", "fractions", "functools",
    "heapq", "itertools", "math", "operator", "random", "re", "socket", "statistics", "string",
    "textwrap", "threading", "time", "typing",
)  # fmt: skip


class MountAttributes(ctypes.Structure):
    """``struct mount_attr`` of Linux."""

    _fields_ = (
        ("set", ctypes.c_uint64),
        ("clear", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("namespace", ctypes.c_uint64),
    )


def main() -> None:
    task = json.load(sys.stdin)
    tell = silence()
    become_nobody()
    leave_the_system()
    set_limits(task["cpu_seconds"])
    os.write(tell, json.dumps(run(task["program"], task["checks"], task["token"])).encode())
    os._exit(0)


def silence() -> int:
    """stdin, stdout and stderr lead nowhere; returns where stdout was."""
    tell = os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    os.close(nowhere)
    return tell


def become_nobody() -> None:
    """Root is bound by no limit on processes. Nobody may not be able to read root's Python."""
    if os.geteuid() != 0:
        return
    for name in USUAL_MODULES:
        importlib.import_module(name)
    os.chown(".", NOBODY, NOBODY)
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(MAY_BE_TRACED, 1, 0, 0, 0)  # else /proc/self stays root's


def leave_the_system() -> None:
    """Into namespaces of its own, as their first process. Where the system forbids that, only the
    limits hold."""
    libc: Any = ctypes.CDLL(None, use_errno=True)
    user, group = os.getuid(), os.getgid()
    spaces = NEW_USER | NEW_NETWORK | NEW_MOUNTS | NEW_PROCESSES
    if not hasattr(libc, "unshare") or libc.unshare(spaces):
        return
    with contextlib.suppress(OSError):
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
        make_read_only(libc)
    inner = os.fork()
    if inner:
        os.waitpid(inner, 0)
        os._exit(0)
    libc.prctl(DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)


def make_read_only(libc: Any) -> None:
    """All there is, but for a little room in memory where the folder is."""
    folder = bytes(Path.cwd())
    libc.mount(None, b"/", None, RECURSIVE | PRIVATE, None)
    attributes = MountAttributes(set=READ_ONLY)
    size = ctypes.sizeof(attributes)
    libc.syscall(MOUNT_SETATTR, AT_FDCWD, b"/", AT_RECURSIVE, ctypes.byref(attributes), size)
    if libc.mount(b"tmpfs", folder, b"tmpfs", 0, b"size=4m,mode=700") == 0:
        os.chdir(folder)


def set_limits(cpu_seconds: int) -> None:
    for kind, most in {**LIMITS, resource.RLIMIT_CPU: cpu_seconds}.items():
        with contextlib.suppress(OSError, ValueError):  # macOS knows some of them only by name
            resource.setrlimit(kind, (most, most))


def run(program: str, checks: str, token: str) -> dict[str, str]:
    """``{"token": ...}`` once the checks have passed, else ``{"error": ...}``."""
    scope: dict[str, Any] = {"__name__": "answer"}
    try:
        exec(compile(program, "answer.py", "exec"), scope)
        exec(compile(checks, "checks.py", "exec"), scope)
    except BaseException as error:
        return {"error": f"{type(error).__name__}: {error}"[:200]}
    return {"token": token}


if __name__ == "__main__":
    main()
