"""The sides that the benches compare compute the same."""

from __future__ import annotations

import pytest
import torch

from bench.gpu_update import rows
from bench.sides import flex_batch, loss_of
from selfhood.training.batch import to_batch
from selfhood.training.schedule import pack
from tests.tiny import tiny_network


def test_flex_attention_sees_what_the_dense_mask_shows() -> None:
    model = tiny_network()
    (one,) = pack(rows([40, 50, 60], 259, seed=0), 2048)
    assert not one.is_chain
    cpu = torch.device("cpu")
    dense = loss_of(model).measure(to_batch(one, device=cpu, dtype=model.dtype))
    model.set_attn_implementation("flex_attention")
    blocks = loss_of(model).measure(flex_batch(one, device=cpu, dtype=model.dtype))
    assert blocks.nll == pytest.approx(dense.nll, rel=1e-6)
