"""Run and Checkpoint: the folders that training writes and every other verb reads.

output/v0-20261122-101500/
  args.json        the whole recipe
  logging.jsonl    one record per logged update
  probes.jsonl     what examinations found, with --dose auto
  runs/            TensorBoard
  images/          the curves as PNG
  checkpoint-24/   adapter_config.json, adapter_model.safetensors, args.json, and what going on
                   needs: trainer_state.json, optimizer.safetensors; manifest.json has the
                   hashes, base.json that of the model which an adapter stands on
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfhood.errors import InputError, MissingError
from selfhood.files import hash_file, read_json, write_json

ARGS, STATE, MOMENTS = "args.json", "trainer_state.json", "optimizer.safetensors"
MANIFEST, BASE = "manifest.json", "base.json"
ADAPTER, WHOLE_MODEL = "adapter_config.json", "config.json"
NUM_NEAR = 3
_VERSION = re.compile(r"v(\d+)-")
_CHECKPOINT = re.compile(r"checkpoint-(\d+)$")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A folder with an adapter or a whole model, and the recipe that made it."""

    path: Path

    @classmethod
    def at(cls, text: str) -> Checkpoint:
        return cls(Path(text).expanduser())

    @property
    def is_adapter(self) -> bool:
        return (self.path / ADAPTER).is_file()

    @property
    def is_model(self) -> bool:
        """As full training leaves it."""
        return (self.path / WHOLE_MODEL).is_file() and not self.is_adapter

    @property
    def holds_weights(self) -> bool:
        return self.is_adapter or self.is_model

    @property
    def update(self) -> int:
        match = _CHECKPOINT.match(self.path.name)
        return int(match[1]) if match else 0

    def args(self) -> dict[str, Any]:
        """Flag values of the run that made it; empty where another tool made it."""
        file = self.path / ARGS
        if not file.is_file():
            return {}
        values = read_json(file)
        return values if isinstance(values, dict) else {}

    def check(self) -> None:
        """Raise unless every file is as it was written."""
        manifest = self.path / MANIFEST
        if not manifest.is_file():
            raise MissingError("is no checkpoint to go on from", where=str(self.path))
        for name, written in read_json(manifest).items():
            file = self.path / name
            if not file.is_file() or hash_file(file) != written["sha256"]:
                raise InputError("is not as it was written", where=str(file))

    def is_whole(self) -> bool:
        try:
            self.check()
        except InputError:
            return False
        return True

    def adapter_config(self) -> dict[str, Any]:
        """As peft wrote it."""
        config = read_json(self.path / ADAPTER)
        return config if isinstance(config, dict) else {}

    def base_model(self) -> str | None:
        """The base model as the adapter's own config names it."""
        base = self.adapter_config().get("base_model_name_or_path")
        return base if isinstance(base, str) and base else None


@dataclass(frozen=True, slots=True)
class Run:
    """The folder of one training run."""

    path: Path

    @classmethod
    def named(cls, output_dir: Path, *, stamp: str) -> Run:
        """The next ``vN-<stamp>`` below ``output_dir``; not yet created."""
        taken = [
            int(match[1])
            for entry in (output_dir.iterdir() if output_dir.is_dir() else ())
            if (match := _VERSION.match(entry.name))
        ]
        return cls(output_dir / f"v{max(taken, default=-1) + 1}-{stamp}")

    @property
    def images(self) -> Path:
        return self.path / "images"

    @property
    def log(self) -> Path:
        return self.path / "logging.jsonl"

    @property
    def examinations(self) -> Path:
        return self.path / "probes.jsonl"

    @property
    def is_finished(self) -> bool:
        """Whether the log has its last line, the summary."""
        return self.log.is_file() and "last_model_checkpoint" in self.log.read_text("utf-8")

    def args(self) -> dict[str, Any]:
        """Flag values of the run."""
        return Checkpoint(self.path).args()

    def checkpoint(self, update: int) -> Checkpoint:
        return Checkpoint(self.path / f"checkpoint-{update}")

    def checkpoints(self) -> list[Checkpoint]:
        """Those with weights in them, oldest first."""
        found = [
            Checkpoint(entry)
            for entry in (self.path.iterdir() if self.path.is_dir() else ())
            if _CHECKPOINT.match(entry.name) and Checkpoint(entry).holds_weights
        ]
        return sorted(found, key=lambda checkpoint: checkpoint.update)

    def chosen(self) -> Checkpoint | None:
        """What the run is used as: its last checkpoint, or with ``--load_best_model_at_end`` the
        one with the lowest validation loss."""
        checkpoints = self.checkpoints()
        if not checkpoints:
            return None
        last = checkpoints[-1]
        if last.args().get("load_best_model_at_end") and (last.path / STATE).is_file():
            best = read_json(last.path / STATE).get("best_update")
            return next((each for each in checkpoints if each.update == best), last)
        return last


def write_manifest(folder: Path) -> None:
    """Size in bytes and SHA-256 of each file below ``folder``."""
    write_json(
        folder / MANIFEST,
        {
            str(file.relative_to(folder)): {"bytes": file.stat().st_size, "sha256": hash_file(file)}
            for file in sorted(folder.rglob("*"))
            if file.is_file()
        },
    )


def find_checkpoint(text: str) -> Checkpoint:
    """What ``--adapters`` means: a checkpoint, a run (its last checkpoint), or an output folder
    (its newest run). ``output/checkpoint-100`` of older tutorials finds the newest run's."""
    path = Path(text).expanduser()
    if (path / ADAPTER).is_file():
        return Checkpoint(path)
    for run in [Run(path), *runs_below(path)]:
        if chosen := run.chosen():
            return chosen
    for run in runs_below(path.parent):
        checkpoint = Checkpoint(run.path / path.name)
        if checkpoint.holds_weights:
            return checkpoint
    raise MissingError(_what_is_wrong(path), where=str(path), hint=_near_checkpoints(path))


def find_resumable(text: str, output_dir: Path) -> Checkpoint:
    """What ``--resume_from_checkpoint`` means: a checkpoint, a run, an output folder, or ``true``
    for the newest of ``output_dir``. A damaged one is passed over for the one before it, unless it
    was named itself."""
    path = output_dir if text.lower() == "true" else Path(text).expanduser()
    if _CHECKPOINT.search(path.name) and path.is_dir():
        Checkpoint(path).check()
        return Checkpoint(path)
    for run in [Run(path), *runs_below(path)]:
        for checkpoint in reversed(run.checkpoints()):
            if checkpoint.is_whole():
                return checkpoint
    raise MissingError(
        "no run to go on with", where=str(path), hint=_near_checkpoints(path / "checkpoint-0")
    )


def runs_below(folder: Path) -> list[Run]:
    """Newest first."""
    if not folder.is_dir():
        return []
    versions = [
        (int(match[1]), entry)
        for entry in folder.iterdir()
        if (match := _VERSION.match(entry.name))
    ]
    return [Run(entry) for _, entry in sorted(versions, reverse=True)]


def _what_is_wrong(path: Path) -> str:
    if not path.exists():
        return "no such checkpoint"
    if (path / WHOLE_MODEL).is_file():
        return "is a whole model, not an adapter"
    return "holds no adapter"


def _near_checkpoints(path: Path) -> str:
    if (path / WHOLE_MODEL).is_file():
        return f"use --model {path}"
    if "<" in str(path) or "xxx" in str(path) or path.is_relative_to("/path/to"):
        hint = "that is the tutorial's example; put the path that training printed last"
    else:
        hint = "give the path that training printed as last_model_checkpoint"
    folder = next((parent for parent in path.parents if parent.is_dir()), Path())
    near = _newest_below(folder)
    return f"{hint}; there are: {', '.join(map(str, near))}" if near else hint


def _newest_below(folder: Path) -> list[Path]:
    """Some checkpoints of a run, an output folder, or a folder with output folders in it."""
    depths = ("", "v*-*/", "*/v*-*/")
    found = [
        checkpoint
        for depth in depths
        for checkpoint in folder.glob(f"{depth}checkpoint-*")
        if Checkpoint(checkpoint).holds_weights
    ]
    return sorted(found, key=lambda checkpoint: checkpoint.stat().st_mtime)[-NUM_NEAR:]
