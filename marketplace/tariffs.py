"""What a listing costs, in the units people compare by: cached input, tiers, a month of work. Pure.

The rules are `protocol.fees`' (provider-protocol.md 3.4, 5.1); this module only turns them into
prices to read. Whole neuron until something is written out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from django.utils.translation import gettext as _

from marketplace import formats
from marketplace.formats import MILLION, Price
from net.words import kept_by_language
from protocol import fees

DAYS_PER_MONTH = 30
#: Tokens or requests a day that somebody may ask about; more is nobody's workload.
MOST_PER_DAY = 10**12


@dataclass(frozen=True)
class TierPrices:
    """Prices of requests of up to `up_to` prompt tokens (0 = of any size)."""

    up_to: int
    input: Price
    output: Price | None
    cached: Price | None


@dataclass(frozen=True)
class Offer:
    """All prices of an inference listing. `prices` are those of a small request, as lists show
    them; `tiers` is empty where every request costs the same. `by_input`: nothing else is
    billed."""

    prices: tuple[Price, ...]
    cached: Price | None = None
    tiers: tuple[TierPrices, ...] = ()
    by_input: bool = False

    @property
    def input(self) -> Price | None:
        return self.prices[0] if self.by_input or len(self.prices) == 2 else None

    @property
    def output(self) -> Price | None:
        return None if self.by_input else self.prices[-1]


def billed_by_tokens(service_type: str) -> bool:
    return service_type not in formats.IMAGES and service_type != formats.SPEECH


def tariff(
    service_type: str, input_price: int, output_price: int, additional_info: str
) -> fees.Tariff:
    """What tokens cost there; embeddings answer with none."""
    answered = 0 if service_type == fees.EMBEDDING else output_price
    return fees.tariff(input_price, answered, additional_info)


def offer(service_type: str, input_price: int, output_price: int, additional_info: str) -> Offer:
    """The prices of an inference listing; what its additional information says counts for types
    that are billed by tokens."""
    if not billed_by_tokens(service_type) or not _says_prices(additional_info):
        prices = formats.prices(service_type, input_price, output_price)
        return Offer(prices, by_input=service_type == fees.EMBEDDING)
    whole = tariff(service_type, input_price, output_price, additional_info)
    small = whole.for_prompt(0)
    return Offer(
        prices=formats.prices(service_type, small.input_price, small.output_price),
        cached=_cached(small),
        tiers=tuple(_tier(tier, whole, service_type) for tier in whole.tiers),
        by_input=service_type == fees.EMBEDDING,
    )


def _says_prices(additional_info: str) -> bool:
    """Spares most listings the reading of their JSON."""
    return "cacheTokenBilling" in additional_info or "tieredPricing" in additional_info


def _tier(tier: fees.Tier, whole: fees.Tariff, service_type: str) -> TierPrices:
    alone = replace(whole, tiers=(tier,)).for_prompt(tier.max_input_tokens)
    given, *answered = formats.prices(service_type, alone.input_price, alone.output_price)
    return TierPrices(
        tier.max_input_tokens, given, answered[0] if answered else None, _cached(alone)
    )


@kept_by_language
def _cached(tariff: fees.Tariff) -> Price | None:
    if tariff.cache_divisor < 2:
        return None
    whole = tariff.input_price * MILLION // tariff.cache_divisor
    each = tariff.input_price // tariff.cache_divisor
    return formats.token_price(_("Cached input"), each, whole)


# --- a workload -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Workload:
    """What somebody does on a day, in tokens; `cached` ones are part of `tokens_in`. All requests
    are taken to be equally long: their length decides the tier."""

    tokens_in: int
    tokens_out: int
    cached: int = 0
    requests: int = 1

    @property
    def prompt(self) -> int:
        """Tokens of one request's prompt, rounded up."""
        return -(-self.tokens_in // max(1, self.requests))

    def monthly(self, tariff: fees.Tariff) -> int:
        """Neuron for 30 such days, rounded down once a day."""
        usage = fees.Usage(self.tokens_in, self.tokens_out, min(self.cached, self.tokens_in))
        return fees.chat_fee(tariff.for_prompt(self.prompt), usage) * DAYS_PER_MONTH
