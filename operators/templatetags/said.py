"""What a provider says about itself, for the pages of the market."""

from __future__ import annotations

from django import template

from operators import notes, profile, words
from operators.models import Note

register = template.Library()
register.filter("translated", words.translated)
#: The feed of changes shows so many of what is announced.
ANNOUNCED = 10


@register.simple_tag
def said_of(provider: str) -> profile.Said:
    """Profile and notes of a provider (2 queries)."""
    return profile.said(provider)


@register.simple_tag
def announced() -> list[Note]:
    """Maintenance and incidents of all providers that are planned or going on (1 query)."""
    return list(notes.all_open()[:ANNOUNCED])
