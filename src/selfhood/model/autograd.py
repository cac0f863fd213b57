"""Steps of a network whose way back is written out."""

from __future__ import annotations

from typing import Any

import torch


class Step(torch.autograd.Function):
    """``forward`` and ``backward`` are static, as autograd has them; ``of`` takes the step."""

    @classmethod
    def of(cls, *inputs: Any) -> Any:
        return cls.apply(*inputs)  # type: ignore[no-untyped-call]
