"""Words of our own that one page says again and again, kept by language: to look a translation up
costs more than to write the markup around it."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, ParamSpec, TypeVar

from django.utils.translation import get_language
from django.utils.translation.trans_real import DjangoTranslation, translation

P = ParamSpec("P")
T = TypeVar("T")


def kept_by_language(say: Callable[P, T]) -> Callable[P, T]:
    """`say`, asked once for its arguments in each language. It must depend on nothing else, and
    nobody may change what it gives; what strangers write among its arguments displaces the rest."""

    @lru_cache(maxsize=2048)
    def kept(words: DjangoTranslation | None, *given: Any, **named: Any) -> T:
        return say(*given, **named)

    @wraps(say)
    def said(*given: Any, **named: Any) -> T:
        language = get_language()
        # By the catalogue itself: another one of the same language says other words.
        return kept(translation(language) if language else None, *given, **named)

    return said
