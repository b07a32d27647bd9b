"""A language of brackets: every message of the site stands in ⟦…⟧, so that a text outside of them
is either data or was never marked for translation."""

from __future__ import annotations

import gettext
import re
from html.parser import HTMLParser

from django.utils.translation import trans_real

_SILENT = ("script", "style", "svg", "code", "pre", "bdi", "textarea", "head")
_VOID = ("input", "img", "br", "hr", "meta", "link", "col", "source", "wbr")
_SPOKEN = ("aria-label", "title", "placeholder", "alt", "data-label")
_MARKED = re.compile(r"⟦[^⟦⟧]*⟧")
#: Units, identifiers and file names are the same in every language.
_WORD = re.compile(r"[A-Za-z]{3,}")


class Brackets(gettext.NullTranslations):
    """Stands in for a language's catalogue (`django.utils.translation.trans_real`)."""

    def gettext(self, message: str) -> str:
        return f"⟦{message.rpartition(chr(4))[2]}⟧" if message else message

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        return self.gettext(msgid1 if n == 1 else msgid2)

    def language(self) -> str:
        return "de"

    to_language = language


class _Texts(HTMLParser):
    """What a page says: its text (not code, not a stranger's words in <bdi>) and its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if not self._open:
            self.found += [value for name, value in attrs if name in _SPOKEN and value]
        if (self._open or tag in _SILENT) and tag not in _VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self._open:
            while self._open.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        if not self._open:
            self.found.append(data)


def unmarked(page: str, *data: str) -> list[str]:
    """Texts of a page that stand outside of brackets, but for `data` (regular expressions)."""
    reader = _Texts()
    reader.feed(page)
    text = "\n".join(" ".join(found.split()) for found in reader.found)
    while (bare := _MARKED.sub("", text)) != text:
        text = bare
    for pattern in data:
        text = re.sub(pattern, "", text)
    return [line for line in dict.fromkeys(text.split("\n")) if _WORD.search(line)]


def use() -> dict[str, gettext.NullTranslations]:
    """What replaces `trans_real._translations`: German is the language of brackets."""
    return {"en": trans_real.translation("en"), "de": Brackets()}
