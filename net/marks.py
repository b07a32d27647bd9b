"""How pure code marks its constant texts for translation: it knows no Django, and is read by the
same tool (`scripts.messages`) that reads `gettext_noop`."""

from __future__ import annotations


def N_(text: str) -> str:
    """The text as it is; whoever shows it translates it."""
    return text
