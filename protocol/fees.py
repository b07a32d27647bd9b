"""What an answer costs, and what a sub-account must hold for the next one (provider-protocol.md
5.1, 5.2).

Whole neuron everywhere (1 0G = 10^18); every division rounds down unless a rule says otherwise.
Prices and usage come from strangers: the parsers here accept nothing but non-negative integers of
bounded size.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Literal

NEURON_PER_0G = 10**18
MINIMUM_RESERVE = NEURON_PER_0G
MAX_COUNT = 2**53
MAX_TIERS = 32
#: Service types that are billed by the token, by the picture, and by the second.
CHAT, IMAGES, SPEECH = "chatbot", ("text-to-image", "image-editing"), "speech-to-text"
#: And the one that is asked with tokens and answers with none.
EMBEDDING = "embedding"
DEFAULT_SPEECH_UNITS = 100

DurationRule = Literal["broker", "sdk"]


@dataclass(frozen=True)
class Tier:
    """Multipliers for requests of up to `max_input_tokens` (0 = no limit).

    Both are fractions of the base price.
    """

    max_input_tokens: int
    input_multiplier: int = 1
    input_denominator: int = 1
    output_multiplier: int = 1
    output_denominator: int = 1


@dataclass(frozen=True)
class Tariff:
    """A service's prices in neuron per unit, with its optional cache and tier rules.

    `cache_divisor` 0 means cached tokens cost like any other; `cache_write` is (numerator,
    denominator).
    """

    input_price: int
    output_price: int
    cache_divisor: int = 0
    cache_write: tuple[int, int] = (1, 1)
    tiers: tuple[Tier, ...] = ()

    def for_prompt(self, prompt_tokens: int) -> Tariff:
        """The tariff of a request of that size.

        The first matching tier applies to the **whole** request.
        """
        for tier in self.tiers:
            if tier.max_input_tokens == 0 or tier.max_input_tokens >= prompt_tokens:
                return Tariff(
                    self.input_price * tier.input_multiplier // tier.input_denominator,
                    self.output_price * tier.output_multiplier // tier.output_denominator,
                    self.cache_divisor,
                    self.cache_write,
                )
        return self


@dataclass(frozen=True)
class Usage:
    """Tokens an upstream counted. Cached and cache-written tokens are part of `prompt_tokens`."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    cache_write_tokens: int = 0


@dataclass(frozen=True)
class Shortfall:
    """Why a request is refused: all amounts in neuron."""

    available: int
    reserve: int
    unsettled: int
    request_fee: int

    @property
    def required(self) -> int:
        """What the sub-account would have to hold."""
        return self.reserve + self.unsettled + self.request_fee


def chat_fee(tariff: Tariff, usage: Usage) -> int:
    """Neuron for one chat answer whose upstream reported usage."""
    prices = tariff.for_prompt(usage.prompt_tokens)
    # An upstream that claims more cached than prompt tokens must not turn the plain part negative.
    cached = min(usage.cached_tokens, usage.prompt_tokens) if prices.cache_divisor else 0
    written = min(usage.cache_write_tokens, usage.prompt_tokens - cached)
    numerator, denominator = prices.cache_write
    fee = prices.input_price * (usage.prompt_tokens - cached - written)
    fee += prices.input_price * written * numerator // denominator
    if cached:
        fee += prices.input_price * cached // prices.cache_divisor
    return fee + prices.output_price * usage.completion_tokens


def most_fee(tariff: Tariff, usage: Usage) -> int:
    """Neuron at most for up to so many tokens, none of them cached.

    A tier may make fewer tokens dearer than more; within one, the last token costs most.
    """
    ends = {x.max_input_tokens for x in tariff.tiers if x.max_input_tokens < usage.prompt_tokens}
    counts = (Usage(prompt, usage.completion_tokens) for prompt in (*ends, usage.prompt_tokens))
    return max(chat_fee(tariff, count) for count in counts)


def words_fee(output_price: int, text: str) -> int:
    """Neuron for an answer without usage: its whitespace-separated words at the output price."""
    return output_price * len(text.split())


def image_fee(output_price: int, count: int) -> int:
    """Neuron for `count` pictures."""
    return output_price * count


def speech_fee(tariff: Tariff, input_tokens: int, output_tokens: int) -> int:
    """Neuron for a transcription whose usage is counted in tokens."""
    return tariff.input_price * input_tokens + tariff.output_price * output_tokens


def speech_duration_fee(tariff: Tariff, seconds: Decimal, rule: DurationRule) -> int:
    """Neuron for a transcription counted in seconds; the sources disagree, so the service says
    which rule is its own.

    `broker`: started seconds at the output price. `sdk`: rounded seconds (half up), at least one,
    at the input price.
    """
    if rule == "broker":
        return int(seconds.to_integral_value(ROUND_CEILING)) * tariff.output_price
    return max(int(seconds.to_integral_value(ROUND_HALF_UP)), 1) * tariff.input_price


def speech_words_fee(output_price: int, text: str) -> int:
    """Neuron for a transcription without usage.

    Two units a word, a hundred where there is no text.
    """
    return output_price * (2 * len(text.split()) or DEFAULT_SPEECH_UNITS)


def shortfall(
    *, balance: int, pending_refund: int, unsettled: int, request_fee: int
) -> Shortfall | None:
    """None if the sub-account may be charged, else what is missing.

    `unsettled` includes reservations in flight.
    """
    lack = Shortfall(balance - pending_refund, MINIMUM_RESERVE, unsettled, request_fee)
    return lack if lack.available < lack.required else None


def shortfall_text(lack: Shortfall, provider: str) -> str:
    """The reference server's sentence, without its `validate request: ` prefix; amounts in 0G with
    six decimals."""
    return (
        f"insufficient balance: your locked balance is {_in_0g(lack.available)} 0G, but the "
        f"required minimum is {_in_0g(lack.required)} 0G (breakdown: minimum reserve "
        f"{_in_0g(lack.reserve)} 0G + unsettled fees {_in_0g(lack.unsettled)} 0G + current request "
        f"fee {_in_0g(lack.request_fee)} 0G). Please add more funds with: 0g-compute-cli "
        f"transfer-fund --provider {provider} --amount <amount>"
    )


def _in_0g(neuron: int) -> str:
    return f"{Decimal(neuron).scaleb(-18):.6f}"


def count(value: object) -> int | None:
    """A token count from JSON.

    A non-negative integer, or its decimal text; None for anything else.
    """
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 16:
        value = int(value)
    if type(value) is not int or not 0 <= value <= MAX_COUNT:
        return None
    return value


def chat_usage(document: object) -> Usage | None:
    """The `usage` object of a chat completion or chunk, or None where it is absent or unusable."""
    if not isinstance(document, dict):
        return None
    prompt = count(document.get("prompt_tokens"))
    completion = count(document.get("completion_tokens"))
    if prompt is None or completion is None:
        return None
    details = document.get("prompt_tokens_details")
    details = details if isinstance(details, dict) else {}
    return Usage(
        prompt,
        completion,
        count(details.get("cached_tokens")) or 0,
        count(details.get("cache_creation_tokens")) or 0,
    )


def seconds(value: object) -> Decimal | None:
    """A duration from JSON as an exact decimal number of seconds, or None.

    Floats enter by their shortest text.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() and 0 <= number <= MAX_COUNT else None


def tariff(input_price: int, output_price: int, additional_info: str = "") -> Tariff:
    """The tariff of an on-chain service; unusable JSON in `additional_info` leaves the plain
    prices.

    Keys: `cacheTokenBilling.divisor`, `tieredPricing.tiers[]` (provider-protocol.md 3.4).
    """
    try:
        info = json.loads(additional_info) if additional_info else {}
    except (ValueError, RecursionError):
        info = {}
    if not isinstance(info, dict):
        info = {}
    billing = info.get("cacheTokenBilling")
    divisor = count(billing.get("divisor")) if isinstance(billing, dict) else None
    tiered = info.get("tieredPricing")
    rows = tiered.get("tiers") if isinstance(tiered, dict) else None
    return Tariff(input_price, output_price, divisor or 0, (1, 1), _tiers(rows))


def _tiers(rows: object) -> tuple[Tier, ...]:
    """All tiers, or none at all if one of them is unusable.

    Half a price list is worse than the base price.
    """
    if not isinstance(rows, list) or len(rows) > MAX_TIERS:
        return ()
    tiers: list[Tier] = []
    for row in rows:
        if not isinstance(row, dict):
            return ()
        numbers = (
            count(row.get("maxInputTokens", 0)),
            count(row.get("inputMultiplier", 1)),
            count(row.get("inputMultiplierDenominator", 1)),
            count(row.get("outputMultiplier", 1)),
            count(row.get("outputMultiplierDenominator", 1)),
        )
        top, input_up, input_down, output_up, output_down = numbers
        if (
            top is None
            or input_up is None
            or output_up is None
            or not input_down
            or not output_down
        ):
            return ()
        tiers.append(Tier(top, input_up, input_down, output_up, output_down))
    return tuple(tiers)
