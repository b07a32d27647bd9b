"""Which services lists show: those on chain, less those that a layer above leaves out.

The ledger knows no reason to leave one out. An app that has some (moderation) says so once, when it
is ready; every list, count, search and map then reads the same rows. A service that is left out
stays where its key is asked for: its page, its accounts, everything about money.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Q, QuerySet

from ledger import tags
from ledger.models import Service

Shown = Callable[[tags.Moment | None], Q]
Version = Callable[[tags.Moment | None], tuple[str, Sequence[Any]]]


@dataclass
class _Overlay:
    """`shown`: a condition on `Service`. `version`: an SQL expression, with its values, that
    changes whenever the condition selects other rows."""

    shown: Shown = lambda now: Q()
    version: Version = lambda now: ("''", ())


_overlay = _Overlay()


def leave_out(shown: Shown, version: Version) -> None:
    """Called by the one app above that leaves services out, from its `AppConfig.ready`."""
    _overlay.shown, _overlay.version = shown, version


def rows(*, everything: bool = False, now: tags.Moment | None = None) -> QuerySet[Service]:
    """Listed services, unordered; `everything`: also those left out."""
    on_chain = Service.current.filter(removed=False)
    return on_chain if everything else on_chain.filter(_overlay.shown(now))


def left_out(providers: Collection[str]) -> frozenset[tuple[str, str]]:
    """Services of these providers that lists do not show, by serving contract and provider (1
    query)."""
    of_them = rows(everything=True).filter(provider__in=providers)
    found = of_them.exclude(pk__in=rows().filter(provider__in=providers).values("pk"))
    return frozenset(found.values_list("serving", "provider"))


def version(now: tags.Moment | None = None) -> tuple[str, Sequence[Any]]:
    """SQL that names the present state of what is left out."""
    return _overlay.version(now)
