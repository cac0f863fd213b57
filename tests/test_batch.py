"""Pack -> tensors."""

from __future__ import annotations

import torch

from selfhood.data.encode import Sample
from selfhood.training.batch import to_batch, visible
from selfhood.training.schedule import pack


def test_a_slot_sees_exactly_itself_and_its_ancestors() -> None:
    seen = visible(torch.tensor([5, 3, 2, 3, 5, 5]))
    assert [row.nonzero().flatten().tolist() for row in seen] == [
        [0],
        [0, 1],
        [0, 1, 2],
        [0, 1, 3],
        [0, 4],
        [0, 4, 5],
    ]


def test_the_mask_is_zero_where_seen_and_the_least_number_elsewhere() -> None:
    sample = Sample(ids=(7, 1, 2), trained=(False, True, True), origin="")
    (each,) = pack([sample], 64)
    batch = to_batch(each, device=torch.device("cpu"), dtype=torch.bfloat16)
    least = torch.finfo(torch.bfloat16).min
    assert batch.mask_11TT.dtype == torch.bfloat16
    assert batch.mask_11TT[0, 0].tolist() == [[0, least, least], [0, 0, least], [0, 0, 0]]


def test_a_target_is_asked_of_the_slot_before_it() -> None:
    sample = Sample(ids=(7, 1, 2), trained=(False, False, True), origin="", weight=0.5)
    (each,) = pack([sample], 64)
    batch = to_batch(each, device=torch.device("cpu"), dtype=torch.float32)
    assert batch.target_slots_N.tolist() == [1]
    assert batch.target_ids_N.tolist() == [2]
    assert batch.target_weights_N.tolist() == [0.5]
