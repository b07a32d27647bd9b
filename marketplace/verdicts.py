"""The one vocabulary of verdicts: word, icon and tone of each, wherever it is said (design.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from net.words import kept_by_language


@dataclass(frozen=True)
class Word:
    """`tone`: ok, warn, bad, dev or "" (grey); the style sheets know it by the verdict itself."""

    text: str
    icon: str
    tone: str = ""


NEVER = Word(gettext_noop("Not checked yet"), "circle-dashed")

#: Of a service or report, then of one answer (interfaces.md 3).
WORDS: Mapping[str, Word] = {
    "pass": Word(gettext_noop("Verified"), "shield-check", "ok"),
    "warn": Word(gettext_noop("Verified, with warnings"), "triangle-alert", "warn"),
    "partial": Word(gettext_noop("Partly verified"), "shield-half", "warn"),
    "fail": Word(gettext_noop("Failed"), "shield-x", "bad"),
    "not_provided": Word(gettext_noop("Cannot be checked"), "shield-minus"),
    "not_checked": NEVER,
    "expired": Word(gettext_noop("Expired"), "clock"),
    "never": NEVER,
    "dev-pass": Word(gettext_noop("Verified development evidence"), "shield-check", "dev"),
    "dev-warn": Word(gettext_noop("Development evidence, with warnings"), "triangle-alert", "dev"),
    "dev-partial": Word(
        gettext_noop("Development evidence, partly verified"), "shield-half", "dev"
    ),
    "dev-not_checked": Word(
        gettext_noop("Development evidence, not checked"), "circle-dashed", "dev"
    ),
    "pending": Word(gettext_noop("Checking the signature"), "clock"),
    "verified": Word(gettext_noop("Verified"), "shield-check", "ok"),
    "rewritten": Word(gettext_noop("Answer signed, request rewritten"), "shield-half", "warn"),
    "altered": Word(gettext_noop("Signed, but for different text"), "shield-x", "bad"),
    "not_comparable": Word(gettext_noop("Cannot be compared"), "shield-minus"),
    "failed": Word(gettext_noop("Failed"), "shield-x", "bad"),
    "unavailable": Word(gettext_noop("Signature not available"), "shield-minus"),
}


@kept_by_language
def word(verdict: str) -> Word:
    """The word in the reader's language."""
    found = WORDS.get(verdict, NEVER)
    return replace(found, text=_(found.text))
