"""What this site itself used in a person's name, by the count of whoever used it.

Conversations belong to apps above this one, which may not be imported here: they put a source into
`SOURCES` from their `AppConfig.ready`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from ledger.spending import Pair


@dataclass(frozen=True)
class Use:
    """Use of one pair through the site's own short-lived key (slot 255), neuron.

    `known` by the provider's own count, `estimated` by ours; of `unsure` answers only a settlement
    will show the cost, at most `at_most` together.
    """

    serving: str
    provider: str
    known: int = 0
    estimated: int = 0
    at_most: int = 0
    answers: int = 0
    unsure: int = 0
    #: The access token that asked, by number and name; 0: the playground.
    token: int = 0
    label: str = ""

    @property
    def counted(self) -> int:
        return self.known + self.estimated

    def __add__(self, other: Use) -> Use:
        return Use(
            self.serving,
            self.provider,
            self.known + other.known,
            self.estimated + other.estimated,
            self.at_most + other.at_most,
            self.answers + other.answers,
            self.unsure + other.unsure,
        )


#: (address, since or None for all time) → uses.
Source = Callable[[str, dt.datetime | None], Iterable[Use]]
SOURCES: list[Source] = []


def of(address: str, since: dt.datetime | None) -> list[Use]:
    """All sources together, by pair and token (1 query each)."""
    return [use for source in SOURCES for use in source(address, since)]


def by_pair(uses: Iterable[Use]) -> dict[Pair, Use]:
    found: dict[Pair, Use] = {}
    for use in uses:
        pair = (use.serving, use.provider)
        found[pair] = found[pair] + use if pair in found else use
    return found


def by_token(uses: Iterable[Use]) -> list[Use]:
    """What each token used, and what the playground did, the dearest first; of no one pair."""
    found: dict[int, Use] = {}
    for use in uses:
        before = found.get(use.token, Use("", ""))
        found[use.token] = replace(before + use, token=use.token, label=use.label)
    return sorted(found.values(), key=lambda use: -use.counted)
