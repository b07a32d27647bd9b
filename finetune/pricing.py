"""What a task will cost, as far as it can be known before it starts. Pure; amounts in neuron.

`fee = tokens × price × epochs × coefficient + storage` (provider-protocol.md 6.7). The count of
tokens, the coefficient and the storage reserve are the provider's: for models that the
documentation prices they are taken from there, for others the coefficient is 1 and the reserve
unknown. The provider's own number replaces this one after it has counted.
"""

from __future__ import annotations

from dataclasses import dataclass

from protocol import tuning

#: Storage reserve of the models that the documentation prices, neuron.
DOCUMENTED_RESERVE = {"Qwen2.5-0.5B-Instruct": 10**16, "Qwen3-32B": 9 * 10**16}
#: What a token of a large model costs by the documentation, neuron. A listing has one price for all
#: of its models: one that asks less multiplies it for these.
DOCUMENTED_PRICE = {"Qwen3-32B": 4 * 10**12}


@dataclass(frozen=True)
class Price:
    """`reserve` None: the provider does not say. `each`: neuron for a token, `listed` what the
    listing asks. `missing`: what the sub-account lacks."""

    tokens: int
    epochs: int
    each: int
    listed: int
    reserve: int | None
    training: int
    total: int
    free: int

    @property
    def missing(self) -> int:
        return max(0, self.total - self.free)

    @property
    def multiplied(self) -> bool:
        """Whether the documentation's price stands for the listing's, times an unknown factor."""
        return self.each > self.listed


def price(*, model: str, tokens: int, epochs: int, each: int, free: int) -> Price:
    """An estimate for `tokens` of one epoch at a listing's `each` neuron; `free` is what can be
    spent there."""
    listed, each = each, max(each, DOCUMENTED_PRICE.get(model, 0))
    training = tuning.task_fee(tokens=tokens, price=each, epochs=epochs)
    reserve = DOCUMENTED_RESERVE.get(model)
    return Price(tokens, epochs, each, listed, reserve, training, training + (reserve or 0), free)
