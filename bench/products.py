"""The matrix products that an update with LoRA cannot do without, on the model's own weights.

For each adapted layer, with T tokens, I inputs, O outputs, R rank, N trained positions:

    forward          x_TI Wᵀ        low_TR = x_TI Aᵀ     low_TR Bᵀ
    backward         g_TO W         g_TO B    (g_TO B)ᵀ x_TI    g_TOᵀ low_TR    (g_TO B) A
    head, N times    h_ND Vᵀ        g_NV V

Frozen weights need no gradient of their own. The first layer's query, key and value need no
gradient of their input either, since nothing below them is trained. Attention's own products are
left out: they are few, and so the floor is rather too low than too high.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import torch
from torch import Tensor

from selfhood.training.loss import CHUNK
from selfhood.training.schedule import Pack

Shape = tuple[int, int, int]
FIRST_INPUTS = tuple(f"layers.0.self_attn.{name}_proj" for name in "qkv")


@dataclass(slots=True)
class Stopwatch:
    """Seconds of products, by shape (rows, inner, columns)."""

    seconds: dict[Shape, list[float]] = field(default_factory=lambda: defaultdict(list))

    def product(self, left_MK: Tensor, right_KN: Tensor) -> Tensor:
        out_MN = left_MK.new_empty(left_MK.shape[0], right_KN.shape[1])
        began = time.perf_counter()
        torch.mm(left_MK, right_KN, out=out_MN)
        elapsed = time.perf_counter() - began
        self.seconds[(*left_MK.shape, right_KN.shape[1])].append(elapsed)
        return out_MN

    @property
    def total(self) -> float:
        return sum(sum(each) for each in self.seconds.values())

    @property
    def multiply_adds(self) -> int:
        return sum(m * k * n * len(each) for (m, k, n), each in self.seconds.items())

    @property
    def best_rate(self) -> float:
        """Multiply-adds a second of the fastest shape."""
        return max(m * k * n / median(each) for (m, k, n), each in self.seconds.items())


@torch.no_grad()
def time_products(model: Any, packs: Sequence[Pack]) -> Stopwatch:
    """Do the products of one update, one after the other and nothing else."""
    watch = Stopwatch()
    for pack in packs:
        for name, layer in adapted(model):
            _layer(
                watch, layer, pack.num_tokens, has_input_gradient=not name.endswith(FIRST_INPUTS)
            )
        _head(watch, model.get_output_embeddings().weight, len(pack.target_slots))
    return watch


def adapted(model: Any) -> Iterator[tuple[str, Any]]:
    return ((name, each) for name, each in model.named_modules() if hasattr(each, "lora_A"))


def _layer(watch: Stopwatch, layer: Any, num_tokens: int, *, has_input_gradient: bool) -> None:
    w_OI = layer.base_layer.weight
    a_RI = layer.lora_A["default"].weight.to(w_OI.dtype)
    b_OR = layer.lora_B["default"].weight.to(w_OI.dtype)
    x_TI = _values(w_OI, num_tokens, w_OI.shape[1])
    g_TO = _values(w_OI, num_tokens, w_OI.shape[0])
    watch.product(x_TI, w_OI.T)
    low_TR = watch.product(x_TI, a_RI.T)
    watch.product(low_TR, b_OR.T)
    g_TR = watch.product(g_TO, b_OR)
    watch.product(g_TR.T, x_TI)
    watch.product(g_TO.T, low_TR)
    if has_input_gradient:
        watch.product(g_TO, w_OI)
        watch.product(g_TR, a_RI)


def _head(watch: Stopwatch, v_VD: Tensor, num_targets: int) -> None:
    for start in range(0, num_targets, CHUNK):
        num_here = min(CHUNK, num_targets - start)
        logits_NV = watch.product(_values(v_VD, num_here, v_VD.shape[1]), v_VD.T)
        watch.product(logits_NV, v_VD)


def _values(like: Tensor, rows: int, columns: int) -> Tensor:
    """Ones: not zero, which a kernel might skip, and not subnormal, which would slow it."""
    return torch.ones(rows, columns, dtype=like.dtype, device=like.device)
