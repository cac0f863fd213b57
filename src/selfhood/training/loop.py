"""The story of a run: update, passes, clip, step, log, validate, save."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from selfhood.console import Progress, say
from selfhood.data.encode import Sample
from selfhood.data.mix import Order
from selfhood.errors import SelfhoodError
from selfhood.files import write_json
from selfhood.model.adapters import attach, describe, trainable
from selfhood.model.load import Loaded, load_model
from selfhood.recipe import Moments, Recipe, TrainOptions
from selfhood.run import ARGS, Checkpoint, Run
from selfhood.training.batch import Batch, to_batch
from selfhood.training.checkpoint import TrainState, prune, save
from selfhood.training.layout import layout_of
from selfhood.training.loss import ChunkedLoss
from selfhood.training.metrics import EvalRecord, Metrics, TrainRecord, Unheard, peak_memory_gib
from selfhood.training.optimizer import make_optimizer, set_rate
from selfhood.training.plan import Plan
from selfhood.training.schedule import Pack
from selfhood.training.shares import shares
from selfhood.training.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run left behind. ``best`` is the lowest validation loss, else the last."""

    run: Run
    last: Checkpoint
    best: Checkpoint
    num_updates: int
    seconds: float
    train_loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateSums:
    """An update's loss and hits, per trained token, and the tokens computed for it."""

    loss: float
    token_acc: float
    grad_norm: float
    num_tokens: float


class Training:
    """One run in progress. ``loaded.model`` carries the adapter that is trained."""

    def __init__(
        self,
        recipe: Recipe,
        loaded: Loaded,
        *,
        samples: Sequence[Sample],
        val_samples: Sequence[Sample],
        order: Order,
        run: Run,
        world: World,
    ) -> None:
        self.recipe = recipe
        self.options = recipe.train
        self.loaded = loaded
        self.samples = samples
        self.val_samples = val_samples
        self.order = order
        self.run = run
        self.layout = layout_of(loaded.model.config)
        self.world = world
        self.loss = ChunkedLoss(loaded.model)
        self.weights = [weight for _, weight in trainable(loaded.model)]
        self.optimizer = make_optimizer(loaded.model, recipe)
        self.best: EvalRecord | None = None

    def fit(self, metrics: Metrics | Unheard) -> Outcome:
        """Run every update of the order; the last one is always saved."""
        started = time.monotonic()
        losses: list[float] = []
        total = self.order.num_updates
        self.loaded.model.train()
        with Progress("training", total=total, unit="update") as bar:
            for update, numbers in enumerate(self.order.updates(), start=1):
                began = time.monotonic()
                sums = self.step(update, [self.samples[number] for number in numbers])
                record = self._record(update, sums, time.monotonic() - began)
                losses.append(sums.loss)
                bar.advance(note=_note(record))
                if update in (1, total) or update % self.options.logging_steps == 0:
                    metrics.train(record)
                if self.val_samples and is_due(self.options, "eval", update, self.order):
                    self._validate(update, metrics)
                if update == total or is_due(self.options, "save", update, self.order):
                    self._save(update)
        last = self.run.checkpoint(total)
        best = self.run.checkpoint(self.best.update) if self.best else last
        return Outcome(
            run=self.run,
            last=last,
            best=best if best.path.is_dir() else last,
            num_updates=total,
            seconds=time.monotonic() - started,
            train_loss=sum(losses) / len(losses),
        )

    def step(self, update: int, samples: Sequence[Sample]) -> UpdateSums:
        """One optimizer update over ``samples``; ``update`` counts from 1."""
        rate = learning_rate(self.options, update - 1, self.order.num_updates)
        set_rate(self.optimizer, rate)
        sums = self.accumulate(samples)
        norm = torch.nn.utils.clip_grad_norm_(self.weights, self.options.max_grad_norm or math.inf)
        if not math.isfinite(sums.loss) or not torch.isfinite(norm):
            raise SelfhoodError(
                f"loss {sums.loss:g}, gradient norm {float(norm):g}",
                where=f"update {update}",
                hint="lower --learning_rate or use --torch_dtype float32; rows: "
                + ", ".join(sample.origin for sample in samples[:8]),
            )
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return UpdateSums(
            loss=sums.loss,
            token_acc=sums.token_acc,
            grad_norm=float(norm),
            num_tokens=sums.num_tokens,
        )

    def accumulate(self, samples: Sequence[Sample]) -> UpdateSums:
        """Gradient of the mean loss per trained token, over all packs of the update.

        Each process computes those of its share; the sums are the same on all.
        """
        packs = self.layout.lay_out(self._share(samples), self.options.token_budget)
        (weight,) = self.world.sum_numbers(sum(sum(each.target_weights) for each in packs))
        loss = correct = 0.0
        for each in packs:
            sums = self.loss.backward(self._batch(each), num_targets=weight)
            loss += sums.nll
            correct += sums.correct
        self.world.sum_gradients(self.weights)
        loss, correct, num_tokens = self.world.sum_numbers(
            loss, correct, sum(each.num_tokens for each in packs)
        )
        return UpdateSums(
            loss=loss / weight,
            token_acc=correct / weight,
            grad_norm=math.nan,
            num_tokens=num_tokens,
        )

    def _share(self, samples: Sequence[Sample]) -> Sequence[Sample]:
        """What this process computes of what all of them have in hand."""
        return shares(samples, self.world.size)[self.world.rank]

    def _batch(self, pack: Pack) -> Batch:
        return to_batch(
            pack,
            windows=self.layout.windows,
            device=self.loaded.device,
            dtype=self.loaded.dtype,
        )

    def _validate(self, update: int, metrics: Metrics | Unheard) -> None:
        started = time.monotonic()
        nll = correct = weight = 0.0
        self.loaded.model.eval()
        for each in self.layout.lay_out(self._share(self.val_samples), self.options.token_budget):
            sums = self.loss.measure(self._batch(each))
            nll += sums.nll
            correct += sums.correct
            weight += sums.weight
        self.loaded.model.train()
        nll, correct, weight = self.world.sum_numbers(nll, correct, weight)
        record = EvalRecord(
            update=update,
            eval_loss=nll / weight,
            eval_token_acc=correct / weight,
            eval_runtime=time.monotonic() - started,
        )
        metrics.eval(record)
        if self.best is None or record.eval_loss < self.best.eval_loss:
            self.best = record

    def _save(self, update: int) -> None:
        if not self.world.is_first:
            return
        state = TrainState(
            update=update,
            epoch=update / self.order.updates_per_epoch,
            best_update=self.best.update if self.best else None,
            best_eval_loss=self.best.eval_loss if self.best else None,
        )
        save(self.run, self.loaded.model, self.recipe, state)
        if self.options.save_total_limit is not None:
            prune(self.run, keep=self.options.save_total_limit, spare=state.best_update)

    def _record(self, update: int, sums: UpdateSums, seconds: float) -> TrainRecord:
        return TrainRecord(
            update=update,
            num_updates=self.order.num_updates,
            epoch=update / self.order.updates_per_epoch,
            loss=sums.loss,
            token_acc=sums.token_acc,
            grad_norm=sums.grad_norm,
            learning_rate=learning_rate(self.options, update - 1, self.order.num_updates),
            tokens_per_second=sums.num_tokens / seconds,
            seconds_per_update=seconds,
            memory_gib=peak_memory_gib(self.loaded.device),
        )


def learning_rate(options: TrainOptions, update: int, num_updates: int) -> float:
    """The rate of update number ``update`` (from 0), of ``num_updates``.

    Warm-up climbs to the peak without an update at rate zero: of the handful of updates that an
    identity needs, none is wasted.
    """
    warmup = options.warmup_steps or math.ceil(options.warmup_ratio * num_updates)
    if update < warmup:
        return options.peak_learning_rate * (update + 1) / (warmup + 1)
    progress = (update - warmup) / max(1, num_updates - warmup)
    shapes = {
        "cosine": 0.5 * (1 + math.cos(math.pi * progress)),
        "linear": 1 - progress,
        "constant": 1.0,
    }
    return options.peak_learning_rate * shapes[options.lr_scheduler_type]


def is_due(options: TrainOptions, what: str, update: int, order: Order) -> bool:
    """Whether to ``save`` or to ``eval`` after this update."""
    strategy: Moments = options.save_strategy
    every = options.save_steps
    if what == "eval":
        strategy = options.eval_strategy or options.save_strategy
        every = options.eval_steps or options.save_steps
        if update == order.num_updates and strategy != "no":
            return True
    if strategy == "epoch":
        return update % order.updates_per_epoch == 0
    return strategy == "steps" and update % every == 0


def _note(record: TrainRecord) -> str:
    return (
        f"loss {record.loss:.3f}  accuracy {record.token_acc:.2f}  "
        f"{record.tokens_per_second:.0f} tokens/s"
    )


def train_plan(plan: Plan, run: Run, world: World) -> Outcome:
    """Load the model of a plan, attach a new adapter, and train it."""
    recipe = plan.recipe
    if world.is_first:  # and before all else: a full or read-only disk says so now
        write_json(run.path / ARGS, recipe.to_json())
    loaded = load_model(
        plan.model_path, dtype=recipe.model.torch_dtype, attention=recipe.model.attn_impl
    )
    tuned = attach(
        loaded.model, recipe.tuner, base=recipe.model.model or "", seed=recipe.train.seed
    )
    say(f"model    {describe(tuned)}, {str(loaded.dtype).removeprefix('torch.')}, {loaded.device}")
    torch.manual_seed(recipe.train.seed + world.rank)  # dropout differs from process to process
    with Metrics(run.path) if world.is_first else Unheard() as metrics:
        outcome = Training(
            recipe,
            replace(loaded, model=tuned),
            samples=plan.samples,
            val_samples=plan.val_samples,
            order=plan.order,
            run=run,
            world=world,
        ).fit(metrics)
        metrics.summary(
            {
                "train_runtime": outcome.seconds,
                "train_loss": outcome.train_loss,
                "global_step": outcome.num_updates,
                "last_model_checkpoint": str(outcome.last.path),
                "best_model_checkpoint": str(outcome.best.path),
            }
        )
    return outcome
