"""From a batch to logits at its trained positions, with whatever is trained.

    lora, full      ids ── embed ────────────────────── decoder ── head
    NEFTune         ids ── embed ── + noise ─────────── decoder ── head
    p-tuning        ids ── embed ── V more in front ─── decoder ── head
    prefix-tuning   ids ── embed ────────────────────── decoder ── head
                              V keys and values in each layer ─┘

Virtual tokens are the root of the tree: every slot sees them and counts its position from them, as
it would in a row of its own. So they are computed once a pass, and exactly.

Suffixes: B rows, T slots of a row, V virtual tokens, N trained positions, M columns, D width.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from selfhood.model.adapters import trains_own_weights
from selfhood.model.tuners.prompt import VirtualTokens, virtual_tokens, without_peft
from selfhood.training.batch import Batch, Mask
from selfhood.training.noise import neftune_noise

Inputs = dict[str, Any]  # keyword arguments of transformers' models


class Forward:
    """One model, whichever of its weights are trained."""

    def __init__(self, model: Any, *, dtype: torch.dtype, noise_alpha: float | None = None) -> None:
        """``dtype`` is that of matrix products, whatever the weights are held in."""
        self._model = model
        self._dtype = dtype
        self._is_mixed = dtype != torch.float32 and trains_own_weights(model)
        self._noise_alpha = noise_alpha
        self._base = without_peft(model)
        self._embed = self._base.get_input_embeddings()
        self._decoder = self._base.get_decoder()
        self._head = self._base.get_output_embeddings()
        if not self._head_is_all():
            self._decoder = self._head = None

    def hidden(self, batch: Batch) -> Tensor:
        """(N, D): what ``logits`` turns into logits, at the slots that the batch reads."""
        inputs = _plain(batch)
        if self._noise_alpha and self._model.training:
            noise_BTD = neftune_noise(batch, self._embed, self._noise_alpha)
            inputs = _embedded(inputs, self._embed(batch.ids_BT) + noise_BTD)
        virtual = virtual_tokens(self._model, batch_size=len(batch.ids_BT))
        in_front = 0
        if virtual is not None and virtual.cache is not None:
            inputs = _seen_by_all(inputs, virtual)
        elif virtual is not None:
            in_front = virtual.num
            inputs = _put_in_front(inputs, virtual, self._embed)
        return self._run(inputs, batch, in_front)

    def logits(self, hidden_ND: Tensor) -> Tensor:
        """(N, vocabulary)."""
        if self._head is None:
            return hidden_ND
        with self._precision():
            logits_NV: Tensor = self._head(hidden_ND)
        return logits_NV

    def _run(self, inputs: Inputs, batch: Batch, in_front: int) -> Tensor:
        """At trained positions, which count from the slot after those ``in_front``."""
        if self._decoder is None:
            width = batch.ids_BT.shape[1]
            rows_N, slots_N = batch.read_slots_N // width, batch.read_slots_N % width
            columns_M, column_N = torch.unique(slots_N, return_inverse=True)
            with self._precision():
                logits_BMV: Tensor = self._base(
                    **inputs, logits_to_keep=columns_M + in_front
                ).logits
            return logits_BMV[rows_N, column_N]
        with self._precision():
            hidden_BTD: Tensor = self._decoder(**inputs).last_hidden_state
        return hidden_BTD[:, in_front:].flatten(0, 1)[batch.read_slots_N]

    def _precision(self) -> AbstractContextManager[object]:
        """Where the model's own weights are trained they are float32, so that small steps are not
        rounded away, and are multiplied in 16 bits where the run computes in those."""
        return torch.autocast(self._model.device.type, self._dtype, enabled=self._is_mixed)

    @torch.no_grad()
    def _head_is_all(self) -> bool:
        """Whether logits are what the head makes of the last hidden state. Some models go on from
        there (Gemma 2 caps its logits, Granite scales them); asked once, with one token."""
        ids_1T = torch.zeros((1, 1), dtype=torch.long, device=self._model.device)
        passed_on: list[Tensor] = []
        listener = self._decoder.register_forward_hook(
            lambda decoder, given, out: passed_on.append(out.last_hidden_state)
        )
        with listener, self._precision():
            logits_1TV = self._base(input_ids=ids_1T, use_cache=False).logits
            return bool(passed_on) and torch.equal(self._head(passed_on[0]), logits_1TV)


class WholeForward(Forward):
    """Of a model that must be called as a whole, because its weights come together only then. All
    logits of a pass exist at once, at trained positions."""

    def __init__(self, model: Any, *, dtype: torch.dtype, noise_alpha: float | None = None) -> None:
        assert not noise_alpha, "the embeddings are not together outside a call of the whole"
        self._model = self._base = model
        self._dtype = dtype
        self._is_mixed = False
        self._noise_alpha = None
        self._decoder = self._head = None


def _plain(batch: Batch) -> Inputs:
    return {
        "input_ids": batch.ids_BT,
        "position_ids": batch.positions_BT,
        "attention_mask": batch.mask,
        "use_cache": False,
    }


def _embedded(inputs: Inputs, embeddings_BTD: Tensor) -> Inputs:
    return {**inputs, "input_ids": None, "inputs_embeds": embeddings_BTD}


def _seen_by_all(inputs: Inputs, virtual: VirtualTokens) -> Inputs:
    """Keys and values before the first slot."""
    return {
        **inputs,
        "position_ids": inputs["position_ids"] + virtual.num,
        "attention_mask": _columns_for(inputs["attention_mask"], virtual.num),
        "past_key_values": virtual.cache,
    }


def _put_in_front(inputs: Inputs, virtual: VirtualTokens, embed: Any) -> Inputs:
    """Slots before the first slot."""
    embeddings_BTD = inputs.get("inputs_embeds")
    if embeddings_BTD is None:
        embeddings_BTD = embed(inputs["input_ids"])
    positions_BT = inputs["position_ids"]
    first_BV = torch.arange(virtual.num, device=positions_BT.device).expand(len(positions_BT), -1)
    front = {
        "position_ids": torch.cat([first_BV, positions_BT + virtual.num], dim=1),
        "attention_mask": _rows_for(
            _columns_for(inputs["attention_mask"], virtual.num), virtual.num
        ),
    }
    assert virtual.embeddings_BVD is not None, "virtual tokens that are keys and values"
    whole = torch.cat([virtual.embeddings_BVD, embeddings_BTD], dim=1)
    return _embedded({**inputs, **front}, whole)


def _columns_for(mask: Mask | None, num: int) -> Mask | None:
    """Virtual tokens are seen by every slot; plain causal attention says so by itself."""
    if mask is None:
        return None
    assert isinstance(mask, Tensor)  # the plan refuses windows for virtual tokens
    return functional.pad(mask, (num, 0))


def _rows_for(mask: Mask | None, num: int) -> Mask | None:
    """Virtual tokens see those before them."""
    if mask is None:
        return None
    assert isinstance(mask, Tensor)
    rows_11VT = mask.new_full((1, 1, num, mask.shape[-1]), torch.finfo(mask.dtype).min).triu(1)
    return torch.cat([rows_11VT, mask], dim=2)
