"""What can be wrong with a translation, as far as a program can tell."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from babel.messages.catalog import Message

#: `%(name)s` and `%s` of Python and templates, `{name}` of scripts, `%%`.
_HOLES = re.compile(r"%\(\w+\)[sd]|%[sd%]|\{\w+\}")
_TAGS = re.compile(r"</?[a-zA-Z][^<>]*>|&\w+;")
#: Written alike in all languages (docs/decisions/0018): `2,000` is no `2.000` anywhere.
_NUMBERS = re.compile(r"\d+(?:[.,]\d+)*")
_ENDS = ".:?!…"
#: A sentence that begins without a blank: two lines of a catalogue were put together.
_GLUED = re.compile(r"[a-zäöüß][.?!][A-ZÄÖÜ]")


def faults(message: Message) -> Iterator[str]:
    """One line for each thing wrong."""
    ids = [message.id] if isinstance(message.id, str) else list(message.id)
    said = message.string or ()
    strings = [said] if isinstance(said, str) else list(said)
    shown = repr(ids[0][:60])
    if not all(strings) or len(strings) < len(ids):
        yield f"{shown} is not translated"
        return
    if message.fuzzy:
        yield f"{shown} is marked fuzzy"
    for number, text in enumerate(strings):
        source = ids[min(number, len(ids) - 1)]
        for what, pattern in (("placeholders", _HOLES), ("markup", _TAGS)):
            if Counter(pattern.findall(source)) != Counter(pattern.findall(text)):
                yield f"{shown}: other {what} than the English"
        if _numbers(source) != _numbers(text):
            yield f"{shown}: other numbers than the English"
        if _edges(source) != _edges(text):
            yield f"{shown}: begins or ends otherwise than the English (blanks, {_ENDS})"
        if _GLUED.search(text) and not _GLUED.search(source):
            yield f"{shown}: a sentence begins without a blank"


def _numbers(text: str) -> Counter[str]:
    return Counter(_NUMBERS.findall(_TAGS.sub(" ", _HOLES.sub(" ", text))))


def _edges(text: str) -> tuple[bool, bool, str]:
    last = text.rstrip()[-1:]
    return text[:1].isspace(), text[-1:].isspace(), last if last in _ENDS else ""
