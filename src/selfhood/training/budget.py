"""How much one pass may hold, and how much is worth it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

FEWEST_TOKENS = 64  # matrix products of fewer rows waste the machine
WASTE = 1.07  # what smaller passes may cost more, for the memory that they spare
# Whatever it holds, in tokens: on two cores a pass of the starter takes about half a second and
# 7 ms a token in bfloat16, in float32 0.8 s and 18 ms.
COST_OF_A_PASS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """``tokens`` bounds a pass, but for a single row that is longer. A pass of more than
    ``recompute_above`` tokens keeps each layer's input alone and computes the rest a second time on
    the way back (activation checkpointing); None: no pass does."""

    tokens: int
    recompute_above: int | None = None
    can_recompute: bool = True
    is_fixed: bool = False
    """Whether it must stay as it is: several processes that gather weights pass by pass agree."""

    def recomputes(self, num_tokens: int) -> bool:
        return self.recompute_above is not None and num_tokens > self.recompute_above

    def smaller(self) -> Budget | None:
        """What to try when memory ran out: half the tokens, in the end recomputation for all."""
        if self.is_fixed:
            return None
        if self.tokens > FEWEST_TOKENS:
            return replace(self, tokens=max(self.tokens // 2, FEWEST_TOKENS))
        if self.recompute_above != 0 and self.can_recompute:
            return replace(self, recompute_above=0)
        return None

    def __str__(self) -> str:
        recomputing = ", recomputing activations" if self.recompute_above == 0 else ""
        return f"{self.tokens} tokens a pass{recomputing}"


def cheapest(choices: Sequence[int], passes: Callable[[int], Sequence[int]]) -> int:
    """The least of some token budgets that costs nearly as little as the best of them.

    ``passes`` says how many tokens each pass of an update would compute under a budget. Small
    passes take less memory, and matrix products are as fast from some 256 rows on; but each pass
    goes through all weights again, and computes what its rows have in common again.
    """
    costs = {
        choice: sum(tokens + COST_OF_A_PASS for tokens in passes(choice)) for choice in choices
    }
    return min(choice for choice in choices if costs[choice] <= WASTE * min(costs.values()))
