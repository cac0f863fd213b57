"""Pack -> tensors."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from selfhood.data.encode import Sample
from selfhood.training.batch import WIDTH, to_batch, visible
from selfhood.training.schedule import Pack, pack, pad

CPU = torch.device("cpu")


def sample(*ids: int) -> Sample:
    """Every token but the first is trained."""
    return Sample(ids=ids, trained=(False, *(True for _ in ids[1:])), origin="")


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
    (each,) = pack([sample(7, 1), sample(7, 2)], 64)
    batch = to_batch(each, device=CPU, dtype=torch.bfloat16)
    least = torch.finfo(torch.bfloat16).min
    assert isinstance(batch.mask, torch.Tensor)
    assert batch.mask.dtype == torch.bfloat16
    assert batch.mask[0, 0, :3, :3].tolist() == [[0, least, least], [0, 0, least], [0, least, 0]]


def test_a_pass_is_filled_up_to_one_of_a_few_widths_with_slots_that_nobody_sees() -> None:
    (each,) = pack([sample(7, 1), sample(7, 2)], 64)
    batch = to_batch(each, device=CPU, dtype=torch.float32)
    assert isinstance(batch.mask, torch.Tensor)
    assert batch.ids_BT.shape == batch.positions_BT.shape == (1, WIDTH)
    assert (batch.mask[0, 0, :3, 3:] < 0).all()


def test_a_window_counts_tokens_of_the_row_and_not_slots_of_the_pack() -> None:
    (each,) = pack([sample(7, 8, 1, 2), sample(7, 8, 3)], 64)
    batch = to_batch(each, windows={"near": 2, "far": None}, device=CPU, dtype=torch.float32)
    assert isinstance(batch.mask, dict)
    seen = {kind: (mask[0, 0, :5, :5] == 0).int().tolist() for kind, mask in batch.mask.items()}
    assert each.ids == (7, 8, 1, 2, 3)
    assert seen["far"][3:] == [[1, 1, 1, 1, 0], [1, 1, 0, 0, 1]]
    assert seen["near"][3:] == [[0, 0, 1, 1, 0], [0, 1, 0, 0, 1]]


@pytest.mark.parametrize("lay_out", [pack, pad])
def test_a_row_alone_needs_no_mask(lay_out: Callable[..., list[Pack]]) -> None:
    (each,) = lay_out([sample(*range(9)), sample(*range(5))], 64)
    assert to_batch(each, windows=4, device=CPU, dtype=torch.float32).mask is None


def test_padded_rows_stand_beside_each_other_and_need_no_mask() -> None:
    (each,) = pad([sample(7, 1, 2), sample(7, 3)], 64)
    batch = to_batch(each, device=CPU, dtype=torch.float32)
    assert batch.ids_BT.tolist() == [[7, 1, 2], [7, 3, 0]]
    assert batch.positions_BT.tolist() == [[0, 1, 2], [0, 1, 2]]
    assert batch.mask is None
    assert batch.target_slots_N.tolist() == [0, 1, 3]
    assert batch.ids_BT.flatten()[batch.target_slots_N + 1].tolist() == batch.target_ids_N.tolist()


def test_a_target_is_asked_of_the_slot_before_it() -> None:
    row = Sample(ids=(7, 1, 2), trained=(False, False, True), origin="", weight=0.5)
    (each,) = pack([row], 64)
    batch = to_batch(each, device=CPU, dtype=torch.float32)
    assert batch.target_slots_N.tolist() == [1]
    assert batch.target_ids_N.tolist() == [2]
    assert batch.target_weights_N.tolist() == [0.5]
