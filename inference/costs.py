"""What a chat answer costs, how sure that is, and what it can cost at most. Pure; neuron."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from inference import failures
from inference.failures import Failure
from protocol import fees

Kind = Literal["known", "estimated", "unknown", "none"]

#: No contract can move more (uint256); prices, tiers and counts of strangers multiply beyond it.
MOST = 2**256 - 1


#: Ordinary text; for the number shown while one writes.
_USUAL_BYTES_PER_TOKEN = 4


def tokens(size: int) -> int:
    """About how many tokens `size` bytes of text are."""
    return -(-size // _USUAL_BYTES_PER_TOKEN)


@dataclass(frozen=True)
class Cost:
    """`fee` neuron; for `unknown` it is the most the provider may charge."""

    fee: int
    kind: Kind


def most(tariff: fees.Tariff, request_bytes: int, max_tokens: int, picture_tokens: int = 0) -> int:
    """The most one request can cost: each byte of it (without pictures) as a token, the pictures'
    tokens, and an answer of full length.

    Tokenizers that do not know a character take its bytes for tokens; only such as unfold ligatures
    before could need more. What a model's template puts around a message is shorter than the JSON
    around it.
    """
    usage = fees.Usage(request_bytes + picture_tokens, max_tokens)
    return min(fees.most_fee(tariff, usage), MOST)


def of_answer(
    tariff: fees.Tariff,
    *,
    usage: fees.Usage | None,
    text: str,
    finished: bool,
    failure: Failure | None,
    maximum: int,
    reason: str = "",
) -> Cost:
    """The cost of one turn, however it ended; `reason`: why it did, in its provider's word.

    A provider bills the whole answer even when nobody listens any more (provider-protocol.md 1.3),
    so a stopped or cut answer is unknown until it settles, whatever was counted up to there: some
    count in every chunk, and only what comes with the reason or behind it is all.
    """
    if usage is not None and (finished or reason):
        return Cost(min(fees.chat_fee(tariff, usage), MOST), "known")
    if failure is not None and failure.kind in failures.NOT_CHARGED:
        return Cost(0, "none")
    if finished:
        return Cost(min(fees.words_fee(tariff.output_price, text), MOST), "estimated")
    return Cost(maximum, "unknown")
