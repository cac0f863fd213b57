"""Weights laid out once in the order in which the processor multiplies them.

A weight matrix as it lies in a file is put in another order at each product, for as many numbers as
are multiplied. For the few tokens of a step of a reply that costs as much as the product itself.
oneDNN, which torch brings along, takes weights that have that order already; torch's compiler hands
them to it by the same two operators.

For answering only: nothing is trained through a packed layer.

Suffixes: O outputs, I inputs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

ROWS = 16  # tokens of a usual pass, for which the order is chosen; others are no slower


class PackedLinear(nn.Linear):
    """In the place of a linear layer whose weights it took."""

    def __init__(self, layer: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = layer.in_features, layer.out_features
        packed_OI = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach(), ROWS)
        self.weight = nn.Parameter(packed_OI, requires_grad=False)
        self.bias = layer.bias

    def forward(self, input: Tensor) -> Tensor:
        out: Tensor = torch.ops.mkldnn._linear_pointwise(
            input, self.weight, self.bias, "none", [], ""
        )
        return out

    def unpacked(self) -> nn.Linear:
        """The layer that it was, bit for bit."""
        with torch.device("meta"):
            layer = nn.Linear(self.in_features, self.out_features, bias=False)
        layer.weight = nn.Parameter(self.weight.to_dense(), requires_grad=False)
        layer.bias = self.bias
        return layer.eval()


def pack_weights(model: Any) -> None:
    """In place, layer by layer, so that no more than one lies in memory twice; an embedding that
    shares the head's weights keeps its own. Nothing where oneDNN has no such products."""
    for parent, name, layer in _linear_layers(model):
        if type(layer) is nn.Linear and _can_be_packed(layer.weight):
            setattr(parent, name, PackedLinear(layer).eval())


def unpack_weights(model: Any) -> None:
    """In place; for what reads the weights themselves."""
    for parent, name, layer in _linear_layers(model):
        if isinstance(layer, PackedLinear):
            setattr(parent, name, layer.unpacked())


def _linear_layers(model: Any) -> list[tuple[nn.Module, str, nn.Linear]]:
    return [
        (parent, name, layer)
        for parent in model.modules()
        for name, layer in parent.named_children()
        if isinstance(layer, nn.Linear)
    ]


def _can_be_packed(weight_OI: Tensor) -> bool:
    if weight_OI.device.type != "cpu" or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    match weight_OI.dtype:
        case torch.float32:
            return True
        case torch.bfloat16:
            return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
        case _:
            return False
