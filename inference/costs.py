"""What an answer costs, how sure that is, and what it can cost at most. Pure; neuron."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from inference import failures
from inference.failures import Failure
from protocol import fees, media

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


def written(text: str, max_tokens: int) -> int:
    """The most tokens of an answer that was asked to have no more than `max_tokens`, by what came
    of it. Every word has one at least, and few have 8 bytes: where more came, the provider heeds no
    limit, and each byte may be one.
    """
    size = len(text.encode())
    return size if len(text.split()) > max_tokens or size > 8 * max_tokens else max_tokens


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


# --- what is no chat ------------------------------------------------------------------------------


def of_pictures(output_price: int, count: int) -> int:
    """What `count` pictures cost, which is the most that so many can (provider-protocol.md 5.1)."""
    return min(fees.image_fee(output_price, count), MOST)


def most_of_speech(input_price: int, output_price: int, seconds: int) -> int:
    """The most for so much speech: brokers and the SDK go by different prices (5.1)."""
    return min(max(seconds, 1) * max(input_price, output_price), MOST)


def of_transcript(tariff: fees.Tariff, body: bytes) -> Cost:
    """Of a whole transcript as it came. Providers round seconds and choose the price by rules of
    their own (5.1): what they counted and costs the same by each of them is known.
    """
    found = media.transcription(body)
    fee, other = found.fee(tariff, "sdk"), found.fee(tariff, "broker")
    return Cost(min(fee, MOST), "known" if found.counted and fee == other else "estimated")


def of_embeddings(tariff: fees.Tariff, tokens: int) -> Cost:
    """Of texts of so many tokens. No source has a rule; it is what every price by tokens means."""
    return Cost(min(fees.chat_fee(tariff, fees.Usage(tokens, 0)), MOST), "estimated")
