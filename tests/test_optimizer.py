"""AdamW in the coordinates of a frame."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from selfhood.training.optimizer import FramedAdamW

OPTIONS: dict[str, Any] = {"lr": 1e-2, "betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.0}
INPUTS_TI = torch.randn(20, 6, generator=torch.Generator().manual_seed(1))
WANTED_TR = torch.randn(20, 3, generator=torch.Generator().manual_seed(2))
START_RI = torch.randn(3, 6, generator=torch.Generator().manual_seed(3))
FRAME_IS = torch.randn(6, 4, generator=torch.Generator().manual_seed(4))


def loss(weight_RI: Tensor) -> Tensor:
    return (INPUTS_TI @ weight_RI.T - WANTED_TR).square().mean()


def stepped(frames: list[Tensor], num: int = 5) -> Parameter:
    weight = Parameter(START_RI.clone())
    frame = dict.fromkeys([weight], frames[0]) if frames else {}
    optimizer = FramedAdamW([{"params": [weight]}], frame, **OPTIONS)
    for _ in range(num):
        optimizer.zero_grad()
        torch.autograd.backward(loss(weight))
        optimizer.step()
    return weight


def test_without_frames_it_is_adamw() -> None:
    weight = Parameter(START_RI.clone())
    usual = torch.optim.AdamW([weight], **OPTIONS)
    for _ in range(5):
        usual.zero_grad()
        torch.autograd.backward(loss(weight))
        usual.step()
    assert torch.equal(weight, stepped([]))
    torch.testing.assert_close(stepped([torch.eye(6)]), weight)


def test_a_frame_is_adamw_on_coordinates() -> None:
    coordinates_RS = Parameter(torch.zeros(3, 4))
    usual = torch.optim.AdamW([coordinates_RS], **OPTIONS)
    for _ in range(5):
        usual.zero_grad()
        torch.autograd.backward(loss(START_RI + coordinates_RS @ FRAME_IS.T))
        usual.step()
    torch.testing.assert_close(stepped([FRAME_IS]), START_RI + coordinates_RS @ FRAME_IS.T)


def test_what_has_no_gradient_stays() -> None:
    weight = Parameter(START_RI.clone())
    optimizer = FramedAdamW([{"params": [weight]}], {weight: FRAME_IS}, **OPTIONS)
    optimizer.step()
    assert torch.equal(weight, START_RI)


def test_a_frame_remembers_as_torch_does() -> None:
    """So that a checkpoint holds the moments of both alike."""
    weight = Parameter(START_RI.clone())
    optimizer = FramedAdamW([{"params": [weight]}], {weight: FRAME_IS}, **OPTIONS)
    torch.autograd.backward(loss(weight))
    optimizer.step()
    assert {name: each.shape for name, each in optimizer.state[weight].items()} == {
        "step": (),
        "exp_avg": (3, 4),
        "exp_avg_sq": (3, 4),
    }
