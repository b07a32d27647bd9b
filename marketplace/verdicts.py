"""The one vocabulary of verdicts: word, icon and tone of each, wherever it is said (design.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Word:
    """`tone`: ok, warn, bad, dev or "" (grey); the style sheets know it by the verdict itself."""

    text: str
    icon: str
    tone: str = ""


NEVER = Word("Not checked yet", "circle-dashed")

#: Of a service or report, then of one answer (interfaces.md 3).
WORDS: Mapping[str, Word] = {
    "pass": Word("Verified", "shield-check", "ok"),
    "warn": Word("Verified, with warnings", "shield-check", "warn"),
    "partial": Word("Partly verified", "shield-half", "warn"),
    "fail": Word("Failed", "shield-x", "bad"),
    "not_provided": Word("Cannot be checked", "shield-minus"),
    "not_checked": NEVER,
    "expired": Word("Expired", "clock"),
    "never": NEVER,
    "dev-pass": Word("Verified development evidence", "shield-check", "dev"),
    "dev-warn": Word("Development evidence, with warnings", "shield-check", "dev"),
    "dev-partial": Word("Development evidence, partly verified", "shield-half", "dev"),
    "dev-not_checked": Word("Development evidence, not checked", "circle-dashed", "dev"),
    "pending": Word("Checking the signature", "clock"),
    "verified": Word("Verified", "shield-check", "ok"),
    "rewritten": Word("Answer signed, request rewritten", "shield-half", "warn"),
    "altered": Word("Signed, but for different text", "shield-x", "bad"),
    "not_comparable": Word("Cannot be compared", "shield-minus"),
    "failed": Word("Failed", "shield-x", "bad"),
    "unavailable": Word("Signature not available", "shield-minus"),
}


def word(verdict: str) -> Word:
    return WORDS.get(verdict, NEVER)
