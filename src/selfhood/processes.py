"""Which process of a run this one is, as torchrun writes it into the environment. No torch."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

ERROR_FILE = "TORCHELASTIC_ERROR_FILE"
EXIT_CODE = "exit_code"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A process among those that train one model together; ``local`` counts within a machine."""

    rank: int = 0
    local_rank: int = 0
    size: int = 1
    local_size: int = 1

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """One of one, unless a launcher has started this process."""
        return cls(
            rank=int(environment.get("RANK", 0)),
            local_rank=int(environment.get("LOCAL_RANK", 0)),
            size=int(environment.get("WORLD_SIZE", 1)),
            local_size=int(environment.get("LOCAL_WORLD_SIZE", 1)),
        )


def is_first_to_fail(line: str, exit_code: int, environment: Mapping[str, str]) -> bool:
    """Whether no other process on this machine has failed before in this run: one failure makes
    all others fail, and only the first is worth reading.

    torch's launcher gives every process a file for its failure, in folders side by side.
    """
    if ERROR_FILE not in environment:
        return True
    file = Path(environment[ERROR_FILE])
    with contextlib.suppress(OSError):  # a disk that is full must not hide the failure
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            (file.parent.parent / "failed").touch(exist_ok=False)
        except FileExistsError:
            return False
        failure = {"message": line, "timestamp": int(time.time()), EXIT_CODE: exit_code}
        file.write_text(json.dumps(failure))
    return True
