"""One record a logged update -> logging.jsonl and the trackers; curves as PNG at the end."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from selfhood.console import warn
from selfhood.files import cannot_write, write_atomic
from selfhood.recipe import Recipe
from selfhood.run import Run
from selfhood.training.dose import Examination
from selfhood.training.memory import peak_resident
from selfhood.training.trackers import start_trackers

STEP = "global_step/max_steps"
CURVES = ("loss", "token_acc", "anchor_kl", "grad_norm", "learning_rate")
CURVE_SMOOTHING = 0.9
AXES = (0.13, 0.13, 0.84, 0.78)  # left, bottom, width, height; a layout engine would draw all twice


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRecord:
    """``loss`` is nats per trained token over the update, ``memory_gib`` the peak so far."""

    update: int
    num_updates: int
    epoch: float
    loss: float
    token_acc: float
    anchor_kl: float | None
    """Nats of divergence from the base per token of the anchor; None without one."""
    grad_norm: float
    learning_rate: float
    tokens_per_second: float
    seconds_per_update: float
    memory_gib: float

    def to_json(self) -> dict[str, Any]:
        """Keys as ms-swift's log has them, so that scripts that read it go on working."""
        drift = {} if self.anchor_kl is None else {"anchor_kl": self.anchor_kl}
        return {
            "loss": self.loss,
            "token_acc": self.token_acc,
            **drift,
            "grad_norm": self.grad_norm,
            "learning_rate": self.learning_rate,
            "memory(GiB)": round(self.memory_gib, 2),
            "train_speed(s/it)": round(self.seconds_per_update, 6),
            "tokens/s": round(self.tokens_per_second, 2),
            "epoch": self.epoch,
            STEP: f"{self.update}/{self.num_updates}",
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalRecord:
    """Validation: nats per token, and the share of tokens guessed right."""

    update: int
    eval_loss: float
    eval_token_acc: float
    eval_runtime: float


class Metrics:
    """Where records go. Use as a context manager; closing draws the curves.

    ``after`` is the update that a run goes on from: what was logged beyond it will be done again.
    """

    def __init__(self, run: Run, recipe: Recipe, *, after: int = 0) -> None:
        run.path.mkdir(parents=True, exist_ok=True)
        self._run = run
        self._lines = _lines_until(run.log, after)
        write_atomic(run.log, "".join(f"{_to_line(line)}\n" for line in self._lines))
        self._trackers = start_trackers(run, recipe, after=after)
        self._is_full = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for tracker in self._trackers:
            tracker.finish()
        with self._unless_full():
            draw_curves(_curves(self._lines), self._run.images)

    def train(self, record: TrainRecord) -> None:
        self._write(record.to_json(), record.update)

    def eval(self, record: EvalRecord) -> None:
        self._write(asdict(record), record.update)

    def examination(self, update: int, found: Examination) -> None:
        """A line of its own file, which the report draws as drift over training."""
        line = {"update": update, **asdict(found)}
        with self._unless_full(), self._run.examinations.open("a", encoding="utf-8") as log:
            log.write(f"{_to_line(line)}\n")

    def summary(self, values: dict[str, Any]) -> None:
        """The last line of the log."""
        with self._unless_full(), self._run.log.open("a", encoding="utf-8") as log:
            log.write(f"{_to_line(values)}\n")

    def _write(self, values: dict[str, Any], update: int) -> None:
        self._lines.append(values)
        scalars = dict(_scalars(values))
        with self._unless_full():
            with self._run.log.open("a", encoding="utf-8") as log:
                log.write(f"{_to_line(values)}\n")
            for tracker in self._trackers:
                tracker.log(scalars, update)

    @contextlib.contextmanager
    def _unless_full(self) -> Iterator[None]:
        """A full disk costs lines of the log, not the run."""
        try:
            yield
        except OSError as error:
            if not self._is_full:
                warn(f"{cannot_write(self._run.log, error)}; the run goes on without its log")
            self._is_full = True


def _to_line(values: dict[str, Any]) -> str:
    return json.dumps(values, ensure_ascii=False)


def _lines_until(log: Path, update: int) -> list[dict[str, Any]]:
    """What an earlier process logged up to an update; a line it was cut in does not count."""
    lines: list[dict[str, Any]] = []
    if update and log.is_file():
        for text in log.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                lines.append(json.loads(text))
    return [line for line in lines if 0 < _update_of(line) <= update]


def _update_of(line: dict[str, Any]) -> int:
    """0 for the summary."""
    return int(line.get("update") or str(line.get(STEP, "0")).partition("/")[0])


def _scalars(line: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """The figures of a line that are worth a curve, as ``train/loss``."""
    kind = "train" if STEP in line else "eval"
    for name in CURVES:
        key = name if kind == "train" else f"eval_{name}"
        if key in line:
            yield f"{kind}/{name}", line[key]


def _curves(lines: Sequence[dict[str, Any]]) -> dict[str, list[tuple[int, float]]]:
    curves: dict[str, list[tuple[int, float]]] = {}
    for line in lines:
        for name, value in _scalars(line):
            curves.setdefault(name, []).append((_update_of(line), value))
    return curves


class Unheard:
    """Where the records of every process but the first go: what they hold is the same."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        pass

    def train(self, record: TrainRecord) -> None:
        pass

    def eval(self, record: EvalRecord) -> None:
        pass

    def examination(self, update: int, found: Examination) -> None:
        pass

    def summary(self, values: dict[str, Any]) -> None:
        pass


def draw_curves(curves: dict[str, list[tuple[int, float]]], folder: Path) -> None:
    """``train/loss`` -> ``train_loss.png``; the loss also smoothed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    for name, points in curves.items():
        updates, values = zip(*points, strict=True)
        figure = Figure(figsize=(7, 4))
        FigureCanvasAgg(figure)
        axes = figure.add_axes(AXES)
        axes.plot(updates, values, marker=".", color="#f5a45d", label="as measured")
        if name == "train/loss":
            axes.plot(updates, smooth(values), color="#d9480f", label="smoothed")
            axes.legend()
        axes.set(xlabel="update", title=name)
        axes.grid(alpha=0.3)
        figure.savefig(folder / f"{name.replace('/', '_')}.png", dpi=120)


def smooth(values: tuple[float, ...]) -> list[float]:
    """Exponential moving average, corrected for its start as Adam's moments are."""
    smoothed: list[float] = []
    average = 0.0
    for count, value in enumerate(values, start=1):
        average = CURVE_SMOOTHING * average + (1 - CURVE_SMOOTHING) * value
        smoothed.append(average / (1 - CURVE_SMOOTHING**count))
    return smoothed


def peak_memory_gib(device: torch.device) -> float:
    """Peak memory: the GPU's reserved bytes, or this process's resident set."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device) / 2**30
    return peak_resident() / 2**30
