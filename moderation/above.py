"""Subjects whose rows lie in an app above this one: it says, once it is ready, which of them live,
whose they are, and where staff reads what was reported (as in `ledger.listed`)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from moderation.subjects import Subject


@dataclass(frozen=True)
class Source:
    """`living`: of these keys those that are still there, each with its owner's wallet. `owners`:
    the same, also of those that can still come back. `path`: the page on which staff reads one.
    `cleaned`: a text about one without its secret address."""

    living: Callable[[Collection[str]], Mapping[str, str]]
    owners: Callable[[Collection[str]], Mapping[str, str]]
    path: Callable[[str], str]
    cleaned: Callable[[str, str], str]


_sources: dict[str, Source] = {}


def register(kind: str, source: Source) -> None:
    """Called by the app that has the rows, from its `AppConfig.ready`."""
    _sources[kind] = source


def kinds() -> tuple[str, ...]:
    """The kinds that live above."""
    return tuple(_sources)


def living(kind: str, keys: Collection[str]) -> Mapping[str, str]:
    """Those of a kind that are still there, with their owners' wallets."""
    return _sources[kind].living(keys) if keys and kind in _sources else {}


def lives(subject: Subject) -> bool:
    """Whether a subject of such a kind is still there."""
    return subject.key in living(subject.kind, (subject.key,))


def owners(kind: str, keys: Collection[str]) -> Mapping[str, str]:
    """The same, also of those that can still come back."""
    return _sources[kind].owners(keys) if keys and kind in _sources else {}


def owner(subject: Subject) -> str:
    """The wallet that a subject is or belongs to; empty where nobody's is known. Never shown."""
    return subject.address or owners(subject.kind, (subject.key,)).get(subject.key, "")


def path(subject: Subject) -> str:
    """Where staff reads what was reported; empty for kinds of this app."""
    source = _sources.get(subject.kind)
    return source.path(subject.key) if source else ""


def cleaned(subject: Subject, text: str) -> str:
    """What is kept of a text about a subject whose address is a secret."""
    source = _sources.get(subject.kind)
    return source.cleaned(subject.key, text) if source else text
