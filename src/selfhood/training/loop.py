"""The story of a run: update, passes, clip, step, log, validate, save."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Literal, NoReturn

from selfhood.console import Progress, say, warn
from selfhood.data.encode import Sample
from selfhood.data.mix import Order
from selfhood.errors import SelfhoodError
from selfhood.model.load import Loaded
from selfhood.model.recompute import recomputing
from selfhood.recipe import Recipe
from selfhood.run import Checkpoint, Run
from selfhood.training.anchor import NO_ANCHOR, Anchor
from selfhood.training.average import remember, use_mean
from selfhood.training.budget import Budget
from selfhood.training.checkpoint import TrainState, fingerprint, prune, save
from selfhood.training.descents import open_descent
from selfhood.training.dose import Dose, Examiner
from selfhood.training.due import saving_is_due, validating_is_due
from selfhood.training.examinations import Examinations
from selfhood.training.layout import layout_of
from selfhood.training.metrics import Metrics, TrainRecord, Unheard, peak_memory_gib
from selfhood.training.optimizer import NO_FRAMES, Frames, set_rate
from selfhood.training.passes import Passes
from selfhood.training.rate import learning_rate
from selfhood.training.schedule import num_kept, num_targets
from selfhood.training.snapshot import Snapshot, random_state, take_snapshot
from selfhood.training.stop import StopAskedError, StopSignals
from selfhood.training.thrift import Thrift
from selfhood.training.validation import Validation
from selfhood.training.world import World

AS_IT_IS = nullcontext()
End = Literal["all", "loss", "passed", "bound"]
"""All updates done; the validation loss no longer fell; with ``--dose auto``: the identity passed,
or did not within the bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run left behind. ``best`` is the lowest validation loss or, with ``--dose auto``, the
    lowest drift of those that passed; else the last."""

    run: Run
    last: Checkpoint
    best: Checkpoint
    chosen: Checkpoint
    """What the run is used as: the best with ``--load_best_model_at_end``, else the last."""
    num_updates: int
    end: End
    """Why there was no update after the last one."""
    missing: tuple[str, ...]
    """What the last examination missed, a phrase each."""
    seconds: float
    train_loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateSums:
    """An update's loss and hits, per trained token, its divergence from the base per token of the
    anchor, and the tokens computed for it."""

    loss: float
    token_acc: float
    anchor_kl: float
    grad_norm: float
    num_tokens: float


class Training:
    """One run in progress. ``loaded.model`` carries the weights that are trained."""

    def __init__(
        self,
        recipe: Recipe,
        loaded: Loaded,
        *,
        samples: Sequence[Sample],
        val_samples: Sequence[Sample],
        order: Order,
        budget: Budget,
        run: Run,
        world: World,
        anchor: Anchor = NO_ANCHOR,
        frames: Frames = NO_FRAMES,
        examiner: Examiner | None = None,
    ) -> None:
        self.recipe = recipe
        self.options = recipe.train
        self.loaded = loaded
        self.samples = samples
        self.order = order
        self.anchor = anchor
        self.run = run
        self.world = world
        self.descent = open_descent(loaded, recipe, world, frames)
        self.loss = self.descent.loss
        self.weights = self.descent.weights
        self.optimizer = self.descent.optimizer
        budget = replace(budget, is_fixed=recipe.train.has_parts)
        self.thrift = Thrift(budget, self.weights, loaded.device)
        self.passes = Passes(
            layout_of(loaded.model.config),
            world,
            device=loaded.device,
            dtype=loaded.dtype,
            is_in_step=self.descent.is_in_step,
        )
        self.validation = self._validation(val_samples) if val_samples else None
        self.examinations = self._examinations(examiner) if examiner is not None else None
        self.stop = StopSignals()
        self.state = TrainState(
            update=0,
            epoch=0.0,
            loss_sum=0.0,
            best_update=None,
            best_eval_loss=None,
            num_worse=0,
            data=fingerprint(samples, order),
            budget=budget,
        )
        self.random = random_state(loaded.device)

    def _validation(self, samples: Sequence[Sample]) -> Validation:
        return Validation(
            samples=samples,
            loaded=self.loaded,
            loss=self.loss,
            passes=self.passes,
            thrift=self.thrift,
            world=self.world,
        )

    def _examinations(self, examiner: Examiner) -> Examinations:
        dose = Dose(most=self.order.num_updates, peak=self.options.peak_learning_rate)
        return Examinations(examiner, dose, self.world)

    def go_on_from(self, state: TrainState) -> None:
        """Stand where another process stood; weights and memory are given back elsewhere."""
        self.state = state
        if self.examinations is not None and state.passed_at is not None:
            self.examinations.dose = self.examinations.dose.passed(state.passed_at)
        if self.options.token_budget is None:
            self.thrift.budget = state.budget
        self.random = random_state(self.loaded.device)

    def fit(self, metrics: Metrics | Unheard) -> Outcome:
        """Run every update that is left; the last one is always saved."""
        started = time.monotonic()
        start = self.state.update
        self.loaded.model.train()
        title = Progress("training", total=self.order.num_updates, unit="update", done=start)
        with self.stop, title as bar:
            for update, numbers in enumerate(self.order.updates(start), start=start + 1):
                began = time.monotonic()
                try:
                    sums = self.step(update, [self.samples[number] for number in numbers])
                except StopAskedError:
                    self._leave()
                record = self._record(update, sums, time.monotonic() - began)
                bar.advance(note=_note(record))
                self._advance(update, sums, metrics, record)
                if self._has_had_enough():
                    break
        return self._outcome(time.monotonic() - started)

    def step(self, update: int, samples: Sequence[Sample]) -> UpdateSums:
        """One optimizer update over ``samples`` and the anchor's turn; ``update`` counts from 1."""
        set_rate(self.optimizer, self._rate(update))
        sums = self.accumulate([*samples, *self.anchor.rows(update)])
        norm = self.descent.step()
        if not math.isfinite(sums.loss) or not math.isfinite(norm):
            raise SelfhoodError(
                f"loss {sums.loss:g}, gradient norm {norm:g}",
                where=f"update {update}",
                hint="lower --learning_rate or use --torch_dtype float32; rows: "
                + ", ".join(sample.origin for sample in samples[:8]),
            )
        return replace(sums, grad_norm=norm)

    def _rate(self, update: int) -> float:
        if self.examinations is not None:
            return self.examinations.dose.rate(update)
        return learning_rate(self.options, update - 1, self.order.num_updates)

    def accumulate(self, samples: Sequence[Sample]) -> UpdateSums:
        """Gradient of the mean loss per trained token, over all packs of the update, and of the
        mean divergence per token of the anchor, by its weight.

        Each process computes those of its share; the sums are the same on all.
        """
        share = self.passes.share(samples)
        weight, kept, num_stops = self.world.sum_numbers(
            num_targets(share), num_kept(share), self.stop.is_asked
        )
        if num_stops:
            raise StopAskedError
        anchor_share = self.anchor.weight / kept if kept else 0.0
        sums = self.thrift.run(lambda budget: self._backward(samples, budget, weight, anchor_share))
        self.descent.sum_gradients()
        loss, correct, divergence, num_tokens = self.world.sum_numbers(*sums)
        return UpdateSums(
            loss=loss / weight,
            token_acc=correct / weight,
            anchor_kl=divergence / kept if kept else 0.0,
            grad_norm=math.nan,
            num_tokens=num_tokens,
        )

    def _backward(
        self, samples: Sequence[Sample], budget: Budget, weight: float, anchor_share: float
    ) -> tuple[float, float, float, int]:
        """The gradient of this process's share; its nats, hits, divergence and tokens computed."""
        packs = self.passes.of(samples, budget.tokens)
        loss = correct = divergence = 0.0
        for each in packs:
            self._stop_if_alone()
            with recomputing(self.loaded.model) if budget.recomputes(each.num_tokens) else AS_IT_IS:
                batch = self.passes.batch(each, self.anchor.base_states)
                sums = self.loss.backward(batch, num_targets=weight, anchor_share=anchor_share)
            loss += sums.nll
            correct += sums.correct
            divergence += sums.divergence
        return loss, correct, divergence, sum(each.num_tokens for each in packs)

    def _stop_if_alone(self) -> None:
        """In the middle of an update only one process can stop: several would wait for it."""
        if self.stop.is_asked and self.world.size == 1:
            raise StopAskedError

    def _advance(
        self, update: int, sums: UpdateSums, metrics: Metrics | Unheard, record: TrainRecord
    ) -> None:
        """What follows an update: its number, its line in the log, validation, a checkpoint."""
        self._average(update)
        self.state = replace(
            self.state,
            update=update,
            epoch=record.epoch,
            loss_sum=self.state.loss_sum + sums.loss,
            budget=self.thrift.budget,
        )
        self.random = random_state(self.loaded.device)
        if update in (1, self.order.num_updates) or update % self.options.logging_steps == 0:
            metrics.train(record)
        if self.validation is not None and validating_is_due(self.options, update, self.order):
            self._validate(self.validation, metrics)
        if self.examinations is not None and self.examinations.dose.is_due(update):
            self._examine(self.examinations, metrics)
        if self._is_worth_saving():
            self._save()

    def _average(self, update: int) -> None:
        """After the last update the weights are their mean since ``--average_from``."""
        start = self.options.average_from
        if start is None or update < start:
            return
        remember(self.optimizer, self.weights, num=update - start + 1)
        if update == self._last():
            use_mean(self.optimizer, self.weights)

    def _last(self) -> int:
        """The update that ends the run, as far as is known."""
        return self.order.num_updates if self.examinations is None else self.examinations.dose.last

    def _validate(self, validation: Validation, metrics: Metrics | Unheard) -> None:
        record = validation.hold(self.state.update)
        metrics.eval(record)
        if self.examinations is None:  # which know better what the run is for
            self.state = self.state.validated(record.eval_loss)

    def _examine(self, examinations: Examinations, metrics: Metrics | Unheard) -> None:
        found = examinations.hold(self.state.update, self.loaded)
        metrics.examination(self.state.update, found)
        if found.has_passed:
            self.state = self.state.passed(found.kl)

    def _has_had_enough(self) -> bool:
        return self._end() is not None

    def _end(self) -> End | None:
        """Why no update follows; None while one does."""
        patience = self.options.early_stop_interval
        if patience is not None and self.state.num_worse >= patience:
            return "loss"
        if self.examinations is not None and self.state.update >= self.examinations.dose.last:
            return "bound" if self.state.passed_at is None else "passed"
        return None

    def _missing(self) -> tuple[str, ...]:
        last = None if self.examinations is None else self.examinations.last
        return () if last is None else last.missing

    def _is_worth_saving(self) -> bool:
        """Also where validation ends the run, and what ``--load_best_model_at_end`` will want."""
        is_best = self.state.best_update == self.state.update
        return (
            saving_is_due(self.options, self.state.update, self.order)
            or self._has_had_enough()
            or (is_best and self.options.load_best_model_at_end)
        )

    def _save(self) -> None:
        """A full disk in the middle of a run costs a checkpoint, not the run."""
        snapshot = self.take_snapshot()
        if not self.world.is_first:
            return
        try:
            self.write_checkpoint(snapshot)
        except SelfhoodError as error:
            if self.state.update == self.order.num_updates:
                raise
            warn(f"{error}; the run goes on, and saves again later")

    def take_snapshot(self) -> Snapshot:
        """Of the state after the last whole update; all processes must take it."""
        return take_snapshot(self.descent, self.random)

    def write_checkpoint(self, snapshot: Snapshot) -> Checkpoint:
        checkpoint = save(self.run, self.loaded, self.recipe, self.state, snapshot)
        if self.options.save_total_limit is not None:
            prune(self.run, keep=self.options.save_total_limit, spare=self.state.best_update)
        return checkpoint

    def _leave(self) -> NoReturn:
        """Save what was learnt before the update that was cut, and say how to go on."""
        self.descent.drop_gradients()
        snapshot = self.take_snapshot()
        checkpoint = self.run.checkpoint(self.state.update)
        if self.state.update and self.world.is_first:
            if not checkpoint.path.is_dir():
                self.write_checkpoint(snapshot)
            say(f"\nsaved {checkpoint.path}")
            say(f"go on with: selfhood sft --resume_from_checkpoint {checkpoint.path}")
        raise KeyboardInterrupt

    def _outcome(self, seconds: float) -> Outcome:
        last = self.run.checkpoint(self.state.update)
        best = self.run.checkpoint(self.state.best_update or self.state.update)
        best = best if best.path.is_dir() else last
        return Outcome(
            run=self.run,
            last=last,
            best=best,
            chosen=best if self.options.load_best_model_at_end else last,
            num_updates=self.state.update,
            end=self._end() or "all",
            missing=self._missing(),
            seconds=seconds,
            train_loss=self.state.loss_sum / self.state.update,
        )

    def _record(self, update: int, sums: UpdateSums, seconds: float) -> TrainRecord:
        return TrainRecord(
            update=update,
            num_updates=self.order.num_updates,
            epoch=update / self.order.updates_per_epoch,
            loss=sums.loss,
            token_acc=sums.token_acc,
            anchor_kl=sums.anchor_kl if self.anchor.samples else None,
            grad_norm=sums.grad_norm,
            learning_rate=self._rate(update),
            tokens_per_second=sums.num_tokens / seconds,
            seconds_per_update=seconds,
            memory_gib=peak_memory_gib(self.loaded.device),
        )


def _note(record: TrainRecord) -> str:
    return (
        f"loss {record.loss:.3f}  accuracy {record.token_acc:.2f}  "
        f"{record.tokens_per_second:.0f} tokens/s"
    )
