"""Weights in 4 bits, by bitsandbytes (an optional dependency)."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from typing import Any

import torch

from selfhood.recipe import Quantisation


def four_bits(quantisation: Quantisation, dtype: torch.dtype) -> Any:
    """How transformers is to load a model; layers multiply in ``dtype``."""
    from transformers import BitsAndBytesConfig

    with _no_code_from_a_hub():
        import bitsandbytes  # noqa: F401
    return BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type=quantisation.kind,
        bnb_4bit_use_double_quant=quantisation.is_double,
        bnb_4bit_compute_dtype=dtype,
    )


def is_quantised(model: Any) -> bool:
    return bool(getattr(model, "is_quantized", False))


def keep_layout(model: Any) -> None:
    """On some CPUs the first pass without a gradient packs the weights in another order, after
    which there is no way back to training; a validation is enough."""
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


@contextlib.contextmanager
def _no_code_from_a_hub() -> Iterator[None]:
    """Where the package ``kernels`` is installed, bitsandbytes fetches compiled code from a hub as
    it is imported. Without it, it does its own arithmetic, and complains."""
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    modules: dict[str, Any] = sys.modules
    if "kernels" in modules:
        yield
        return
    modules["kernels"] = None  # as Python has it: there is no such module
    try:
        yield
    finally:
        del modules["kernels"]
