"""One record a logged update -> logging.jsonl and TensorBoard; curves as PNG at the end."""

from __future__ import annotations

import json
import resource
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

CURVE_SMOOTHING = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRecord:
    """``loss`` is nats per trained token over the update, ``memory_gib`` the peak so far."""

    update: int
    num_updates: int
    epoch: float
    loss: float
    token_acc: float
    grad_norm: float
    learning_rate: float
    tokens_per_second: float
    seconds_per_update: float
    memory_gib: float

    def to_json(self) -> dict[str, Any]:
        """Keys as ms-swift's log has them, so that scripts that read it go on working."""
        return {
            "loss": self.loss,
            "token_acc": self.token_acc,
            "grad_norm": self.grad_norm,
            "learning_rate": self.learning_rate,
            "memory(GiB)": round(self.memory_gib, 2),
            "train_speed(s/it)": round(self.seconds_per_update, 6),
            "tokens/s": round(self.tokens_per_second, 2),
            "epoch": self.epoch,
            "global_step/max_steps": f"{self.update}/{self.num_updates}",
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalRecord:
    """Validation: nats per token, and the share of tokens guessed right."""

    update: int
    eval_loss: float
    eval_token_acc: float
    eval_runtime: float


class Metrics:
    """Where records go. Use as a context manager; closing draws the curves."""

    def __init__(self, run: Path) -> None:
        # torch's writer needs only the tensorboard package, not TensorFlow.
        from torch.utils.tensorboard.writer import SummaryWriter

        run.mkdir(parents=True, exist_ok=True)
        self._images = run / "images"
        self._log = (run / "logging.jsonl").open("a", encoding="utf-8")
        self._writer = SummaryWriter(str(run / "runs"))
        self._curves: dict[str, list[tuple[int, float]]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._log.close()
        self._writer.close()
        if self._curves:
            draw_curves(self._curves, self._images)

    def train(self, record: TrainRecord) -> None:
        self._write(record.to_json())
        for name in ("loss", "token_acc", "grad_norm", "learning_rate"):
            self._plot(f"train/{name}", record.update, getattr(record, name))

    def eval(self, record: EvalRecord) -> None:
        self._write(asdict(record))
        for name in ("loss", "token_acc"):
            self._plot(f"eval/{name}", record.update, getattr(record, f"eval_{name}"))

    def summary(self, values: dict[str, Any]) -> None:
        """The last line of the log."""
        self._write(values)

    def _write(self, values: dict[str, Any]) -> None:
        self._log.write(json.dumps(values, ensure_ascii=False) + "\n")
        self._log.flush()

    def _plot(self, name: str, update: int, value: float) -> None:
        self._writer.add_scalar(name, value, update)
        self._curves.setdefault(name, []).append((update, value))


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

    def summary(self, values: dict[str, Any]) -> None:
        pass


def draw_curves(curves: dict[str, list[tuple[int, float]]], folder: Path) -> None:
    """``train/loss`` -> ``train_loss.png``; the loss also smoothed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    for name, points in curves.items():
        updates, values = zip(*points, strict=True)
        figure = Figure(figsize=(7, 4), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
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
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
