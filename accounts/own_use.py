"""What this site itself used in a person's name, by the count of whoever used it.

Conversations belong to apps above this one, which may not be imported here: they put a source into
`SOURCES` from their `AppConfig.ready`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from dataclasses import dataclass

#: (serving, provider)
Pair = tuple[str, str]


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


def of(address: str, since: dt.datetime | None) -> dict[Pair, Use]:
    """All sources together, by pair (1 query each)."""
    found: dict[Pair, Use] = {}
    for source in SOURCES:
        for use in source(address, since):
            pair = (use.serving, use.provider)
            found[pair] = found[pair] + use if pair in found else use
    return found
