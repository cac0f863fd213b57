"""``NPROC_PER_NODE=2 selfhood sft ...``: torch's launcher runs the command in two processes."""

from __future__ import annotations

import logging
import os
import signal
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from selfhood import console
from selfhood.errors import FlagError
from selfhood.processes import EXIT_CODE

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

INTERRUPTED = 130


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """Processes to start on this machine, and where those of other machines meet them."""

    per_machine: int = 1
    machines: int = 1
    machine: int = 0
    address: str | None = None
    port: int | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """From the variables that ms-swift's tutorials set."""
        port = environment.get("MASTER_PORT")
        return cls(
            per_machine=_number("NPROC_PER_NODE", environment.get("NPROC_PER_NODE") or "1"),
            machines=_number("NNODES", environment.get("NNODES") or "1"),
            machine=_number("NODE_RANK", environment.get("NODE_RANK") or "0", minimum=0),
            address=environment.get("MASTER_ADDR") or None,
            port=_number("MASTER_PORT", port) if port else None,
        )

    @property
    def num_processes(self) -> int:
        return self.per_machine * self.machines

    def words(self) -> list[str]:
        """What torchrun is told. One machine needs no port that somebody else may have taken."""
        words = [f"--nproc_per_node={self.per_machine}"]
        if self.machines == 1 and self.port is None:
            return [*words, "--standalone", "--local_addr=127.0.0.1"]
        if self.machines > 1:
            words += [f"--nnodes={self.machines}", f"--node_rank={self.machine}"]
        return [
            *words,
            f"--master_addr={self.address or '127.0.0.1'}",
            f"--master_port={self.port or 29500}",
        ]


def _number(name: str, text: str, *, minimum: int = 1) -> int:
    if not text.isdecimal() or int(text) < minimum:
        raise FlagError(f"{text!r} is not a whole number from {minimum} up", where=name)
    return int(text)


def find_launch(environment: Mapping[str, str]) -> Launch:
    """What is still to be launched: nothing where a launcher has started this process."""
    if "WORLD_SIZE" in environment:
        return Launch()
    return Launch.from_environment(environment)


def launch(asked: Launch, argv: Sequence[str]) -> int:
    """Run ``selfhood *argv`` in all processes of this machine. Exit code: that of the process that
    failed first."""
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    # A process that fails says why in a line; torch would add thirty of its own.
    logging.disable(logging.ERROR)
    # Between a signal and the end lie the rest of an update and a checkpoint.
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "120")
    with tempfile.TemporaryDirectory(prefix="selfhood-") as folder:
        words = [*asked.words(), f"--log_dir={folder}", "--module", "selfhood", *argv]
        try:
            run.run(run.parse_args(words))  # type: ignore[no-untyped-call]
        except ChildFailedError as error:
            return _exit_code(list(error.failures.values()))
        except SignalException:
            return INTERRUPTED
    return 0


def _exit_code(failures: Sequence[ProcessFailure]) -> int:
    """Of the process that said why. One that had no time to is named here."""
    for failure in failures:
        if EXIT_CODE in failure.error_file_data:
            return int(failure.error_file_data[EXIT_CODE])
    killed = [failure for failure in failures if failure.exitcode not in (1, -signal.SIGTERM)]
    for failure in killed[:1]:
        console.fail(f"process {failure.local_rank} ended without a word: {failure.message}")
    if not killed:
        console.fail("a process on another machine has ended")
    return 1
