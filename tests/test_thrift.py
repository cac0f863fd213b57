"""A run that runs out of memory goes on with less, and the update is what it would have been."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from selfhood.errors import SelfhoodError
from selfhood.training.budget import Budget
from selfhood.training.thrift import is_out_of_memory
from tests.parity.test_gradient import EXACT, gradient, relative_error, short_rows
from tests.tiny_training import row, tiny_training

CPU_WORDS = (
    "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
)
FAILURES: dict[str, BaseException] = {
    "on a GPU": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    "on a CPU": RuntimeError(CPU_WORDS),
    "in Python": MemoryError(),
}


def fail_above(limit: int, failure: BaseException) -> Callable[..., None]:
    """A hook on the network: passes of more tokens than ``limit`` find no memory."""

    def hook(*call: object) -> None:
        logits = call[-1].last_hidden_state  # type: ignore[attr-defined]
        if logits.shape[1] > limit:
            raise failure

    return hook


@pytest.mark.parametrize("name", FAILURES)
def test_an_update_that_runs_out_of_memory_is_done_again_in_smaller_passes_and_exactly(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = short_rows()
    training = tiny_training(tmp_path, rows, token_budget=512)
    (whole,) = training.passes.layout.lay_out(rows, 512)
    assert whole.num_tokens > 128
    decoder = training.loaded.model.get_base_model().get_decoder()
    # The second pass of the first try fails too: what the first one added must be taken back.
    decoder.register_forward_hook(fail_above(128, FAILURES[name]))
    training.thrift.budget = Budget(tokens=512)
    training.loaded.model.train()
    training.accumulate(rows)
    tried = gradient(training.loaded.model)
    assert training.thrift.budget == Budget(tokens=128)
    said = capsys.readouterr().err
    assert "out of memory with 512 tokens a pass; going on with 256 tokens a pass" in said
    expected = tiny_training(tmp_path, rows)
    expected.loaded.model.train()
    expected.accumulate(rows)
    wanted = gradient(expected.loaded.model)
    assert float((tried - wanted).norm() / wanted.norm()) <= EXACT


def test_the_smaller_budget_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = short_rows()
    training = tiny_training(tmp_path, rows, token_budget=512)
    decoder = training.loaded.model.get_base_model().get_decoder()
    decoder.register_forward_hook(fail_above(256, MemoryError()))
    training.accumulate(rows)
    training.accumulate(rows)
    assert capsys.readouterr().err.count("out of memory") == 1


def test_dropout_draws_the_same_again(tmp_path: Path) -> None:
    """The generator is set back: a run that met the wall is the run that did not."""
    rows = short_rows()
    gradients = []
    for budget in (256, 512):
        training = tiny_training(tmp_path, rows, token_budget=budget, lora_dropout=0.5)
        decoder = training.loaded.model.get_base_model().get_decoder()
        decoder.register_forward_hook(fail_above(256, MemoryError()))
        training.loaded.model.train()
        torch.manual_seed(3)
        training.accumulate(rows)
        gradients.append(gradient(training.loaded.model))
    assert torch.equal(*gradients)


def test_activations_are_recomputed_before_a_run_gives_up_in_one_line(tmp_path: Path) -> None:
    rows = short_rows()
    training = tiny_training(tmp_path, rows, token_budget=64)
    decoder = training.loaded.model.get_base_model().get_decoder()
    decoder.register_forward_hook(fail_above(0, MemoryError()))
    with pytest.raises(
        SelfhoodError, match="out of memory, even with 64 tokens a pass, recomputing"
    ):
        training.accumulate(rows)


def test_other_errors_are_not_taken_for_a_lack_of_memory(tmp_path: Path) -> None:
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    rows = short_rows()
    training = tiny_training(tmp_path, rows)
    decoder = training.loaded.model.get_base_model().get_decoder()
    decoder.register_forward_hook(fail_above(0, RuntimeError("shapes")))
    with pytest.raises(RuntimeError, match="shapes"):
        training.accumulate(rows)


def test_a_real_failure_to_allocate_is_survived(tmp_path: Path) -> None:
    """In a child process that may not have the memory of one pass over all rows."""
    rows = [row(f"question {number} " * 20, "answer " * 60) for number in range(16)]
    training = tiny_training(tmp_path, rows, token_budget=16384)
    training.loaded.model.train()
    training.accumulate(rows[:1])
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            torch.set_num_threads(1)
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + 60_000_000,) * 2)
            training.loaded.model.zero_grad()
            training.accumulate(rows)
            grads_are_there = bool(gradient(training.loaded.model).isfinite().all())
            status = 0 if training.thrift.budget.tokens < 16384 and grads_are_there else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_recomputed_activations_give_the_same_gradient(dropout: float, tmp_path: Path) -> None:
    rows = short_rows()
    gradients = []
    for wish in (False, True):
        training = tiny_training(
            tmp_path, rows, gradient_checkpointing=wish, lora_dropout=dropout, token_budget=150
        )
        training.loaded.model.train()
        torch.manual_seed(0)
        training.accumulate(rows)
        gradients.append(gradient(training.loaded.model))
    plain, recomputed = gradients
    assert float((recomputed - plain).norm() / plain.norm()) <= EXACT


def test_the_gradient_is_that_of_the_plain_loop_with_activations_recomputed(tmp_path: Path) -> None:
    rows = short_rows()
    training = tiny_training(tmp_path, rows, gradient_checkpointing=True)
    assert relative_error(training, rows) <= EXACT


def test_only_passes_above_the_limit_are_recomputed(tmp_path: Path) -> None:
    rows = [*short_rows(), row("long " * 60, "answer")]
    training = tiny_training(tmp_path, rows, token_budget=256)
    training.thrift.budget = Budget(tokens=256, recompute_above=256)
    layer = training.loaded.model.get_base_model().get_decoder().layers[0].mlp
    sizes: list[int] = []
    layer.register_forward_pre_hook(lambda _, inputs: sizes.append(inputs[0].shape[1]))
    training.loaded.model.train()
    training.accumulate(rows)
    long = max(sizes)
    assert long > 256
    assert sizes.count(long) == 2
    short = [each for each in training.passes.layout.lay_out(rows, 256) if each.num_tokens <= 256]
    assert len([size for size in sizes if size <= 256]) == len(short)
