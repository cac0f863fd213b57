"""Curves that grow while the run goes on: TensorBoard always, others through accelerate.

A tracker of accelerate's needs its own package and, to send anything, its own account; the user
asks for it by name.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Protocol

from selfhood.errors import FlagError
from selfhood.recipe import Recipe, Tracker
from selfhood.run import Run

PROJECT = "selfhood"


class RunTracker(Protocol):
    """Takes the scalars of an update."""

    def log(self, values: dict[str, float], step: int) -> None: ...

    def finish(self) -> None: ...


class TensorBoard:
    """Event files in the run's folder."""

    def __init__(self, run: Run, *, after: int) -> None:
        # torch's writer needs only the tensorboard package, not TensorFlow.
        from torch.utils.tensorboard.writer import SummaryWriter

        purge = after + 1 if after else None
        self._writer = SummaryWriter(str(run.path / "runs"), purge_step=purge)

    def log(self, values: dict[str, float], step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def finish(self) -> None:
        self._writer.close()


def check_trackers(recipe: Recipe) -> None:
    """Raise for a tracker whose package is not installed."""
    for name in recipe.train.report_to:
        spec = find_spec(name)
        if spec is None or spec.origin is None:  # a mere folder of that name is no package
            raise FlagError(
                f"needs the package {name}", where="--report_to", hint=f"pip install {name}"
            )


def start_trackers(run: Run, recipe: Recipe, *, after: int) -> list[RunTracker]:
    """``after`` is the update that a run goes on from, else 0."""
    others = [name for name in recipe.train.report_to if name != "tensorboard"]
    return [TensorBoard(run, after=after), *(_start(name, run, recipe) for name in others)]


def _start(name: Tracker, run: Run, recipe: Recipe) -> RunTracker:
    """accelerate's tracker of that name. Its run is called as the run's folder."""
    from accelerate import PartialState
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    PartialState()  # what accelerate's logger asks who it is
    tracker: Any = LOGGER_TYPE_TO_CLASS[name](PROJECT, **_naming(name, run))
    tracker.start()
    tracker.store_init_configuration(_plain(recipe))
    return _Accelerates(tracker)


class _Accelerates:
    def __init__(self, tracker: Any) -> None:
        self._tracker = tracker

    def log(self, values: dict[str, float], step: int) -> None:
        self._tracker.log(values, step=step)

    def finish(self) -> None:
        self._tracker.finish()


def _naming(name: Tracker, run: Run) -> dict[str, str]:
    """How each tracker wants to be told the run's name and where its files go."""
    return {
        "wandb": {"name": run.path.name, "dir": str(run.path)},
        "swanlab": {"experiment_name": run.path.name, "logdir": str(run.path / "swanlog")},
        "mlflow": {"run_name": run.path.name},
    }[name]


def _plain(recipe: Recipe) -> dict[str, str | int | float | bool]:
    """Flags and values that are set, in kinds that every tracker stores."""
    return {
        name: value if isinstance(value, (str, int, float, bool)) else str(value)
        for name, value in recipe.to_json().items()
        if value is not None
    }
