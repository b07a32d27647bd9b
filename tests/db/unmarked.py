"""Finds the words of a page that no catalogue can reach: read in a language whose every message is
`⟦message⟧`, they stand outside of the brackets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.core.cache import cache
from django.utils.translation import trans_real
from lxml import html

#: Code, drawings, and what strangers wrote.
_SKIPPED = frozenset({"script", "style", "code", "pre", "kbd", "bdi", "textarea", "svg"})
_ATTRIBUTES = ("aria-label", "title", "placeholder", "alt", "data-label", "data-done-text")
_MESSAGE = re.compile(r"⟦[^⟦⟧]*⟧")
_WORD = re.compile(r"[A-Za-z]{3,}")
#: Addresses, links, the beginning of an id (of 2,600 one has no digit), numbers with letters, names
#: of models and of fields.
_DATA = r"0x\S+|\b[0-9a-f]{8}\b|\S*[/_@.{}:]\S+|\S*\d\S*|\S+…\S*|[a-z]+[A-Z]\w*"
#: The same in every language: our name, units, formats, names of products and of header fields.
NAMES = frozenset(
    _WORD.findall(
        "0G Market Local devnet MetaMask JSON CSV Atom UTC min neuron Deutsch API Python "
        "JavaScript curl Django Celery Redis PostgreSQL Intel TDX NVIDIA GPU LedgerManager "
        "TEEVerifier Authorization Content-Type Accept png jpeg webp"
    )
)


class Bracketed(trans_real.DjangoTranslation):
    """Every message of the site, marked."""

    def gettext(self, message: str) -> str:
        return f"⟦{message.rpartition(chr(4))[2]}⟧" if message else message

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        return self.gettext(msgid1 if n == 1 else msgid2)


@contextmanager
def bracketed(language: str) -> Iterator[None]:
    """While it lasts, `language` reads so."""
    before = trans_real.translation(language)
    known: dict[str, Any] = trans_real._translations  # type: ignore[attr-defined]
    known[language] = Bracketed(language)
    try:
        yield
    finally:
        known[language] = before


@pytest.fixture(autouse=True)
def brackets() -> Iterator[None]:
    """Every test of a module that names it reads German so."""
    cache.clear()
    with bracketed("de"):
        yield


def words(page: str, data: frozenset[str] = frozenset(), *patterns: str) -> set[str]:
    """The texts of a page that stand in no message. Somebody's, not ours: words of `data`, and
    what matches one of `patterns`."""
    while (less := _MESSAGE.sub(" ", page)) != page:
        page = less
    if not page.strip():
        return set()
    found = set()
    for text in _texts(html.fromstring(page)):
        left = text
        for pattern in (*patterns, _DATA):
            left = re.sub(pattern, " ", left)
        if not (NAMES | data).issuperset(_WORD.findall(left)):
            found.add(text)
    return found


def _texts(element: Any) -> Iterator[str]:
    """What is read or heard, except in parts that are written in English for everybody."""
    if not isinstance(element.tag, str) or element.get("lang") == "en":
        return
    if element.get("translate") == "no":
        return
    yield from (value for name in _ATTRIBUTES if (value := element.get(name)))
    if element.tag in _SKIPPED:
        return
    yield " ".join((element.text or "").split())
    for child in element:
        yield from _texts(child)
        yield " ".join((child.tail or "").split())
