"""What a page asks for, checked: one question to one provider, or to two side by side. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self
from uuid import UUID, uuid5

from django.utils.translation import gettext as _

from inference.errors import BadPrompt
from inference.options import Options, ticked
from inference.tools import MAX_CALLS

MAX_PICTURES = 4
_MAX_ADDRESS_CHARS = 42
#: `ft-name@provider`, as pages name a tuned model (provider-protocol.md 1.6); "base" says none.
_ADAPTER = re.compile(r"(ft-[A-Za-z0-9_-]{1,100})@(0x[0-9a-fA-F]{40})")
BASE = "base"


class Malformed(BadPrompt):
    """Nothing that a page of ours would send."""


@dataclass(frozen=True)
class Prompt:
    """`key` is the page's own id of it: the same key is the same question. `again` names the turn
    of which this is another version; `called` one whose answer calls functions, each of which has a
    text in `results`. `seen` is the question that the page shows last (0: none, None: it does not
    say). `also` is a second provider, `pictures` what was kept for it
    (`inference.attachments`), `had` which pictures of `again` are sent once more (None: all).
    `options` None: as the last time. `adapter` is the provider's tuned model to ask, "" its base
    model, None: as the last time; with `also` the provider itself, its base model is asked beside.
    """

    key: UUID
    text: str
    provider: str = ""
    also: str = ""
    accept_signer: str = ""
    again: int | None = None
    called: int | None = None
    seen: int | None = None
    results: tuple[str, ...] = ()
    options: Options | None = None
    pictures: tuple[UUID, ...] = ()
    had: tuple[UUID, ...] | None = None
    adapter: str | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """A prompt of a message or form. Raises Malformed, or BadPrompt for wrong options."""
        text, options = given.get("text"), given.get("options")
        if not isinstance(text, str):
            raise Malformed(_("A question is text."))
        if options is not None and not isinstance(options, Mapping):
            raise Malformed(_("The settings cannot be read."))
        provider, also = _address(given, "provider"), _address(given, "also")
        adapter = adapter_of(given.get("adapter"), provider)
        if adapter and ticked(given.get("beside")):
            also = provider
        return cls(
            key=_uuid(given.get("key")),
            text=text,
            provider=provider,
            also="" if also.lower() == provider.lower() and not adapter else also,
            accept_signer=_address(given, "accept_signer"),
            again=_turn(given, "again"),
            called=_turn(given, "called"),
            seen=_turn(given, "seen", least=0),
            results=_results(given.get("results")),
            options=None if options is None else Options.of(options),
            pictures=_pictures(given.get("pictures")),
            had=None if given.get("had") is None else _pictures(given["had"]),
            adapter=adapter,
        )

    def questions(self) -> list[dict[str, Any]]:
        """The keyword arguments of `opening.open_turn`, one for each provider asked."""
        first = {
            "prompt_key": self.key,
            "provider": self.provider,
            "accept_signer": self.accept_signer,
            "again": self.again,
            "called": self.called,
            "seen": self.seen,
            "results": self.results,
            "options": self.options,
            "pictures": self.pictures,
            "had": self.had,
            "adapter": self.adapter,
        }
        if not self.also:
            return [first]
        # The first one's pictures and results are the second's too, as for any other version of a
        # question.
        second = {
            **first,
            "called": None,
            "results": (),
            "pictures": (),
            "had": None,
            "prompt_key": uuid5(self.key, "also"),
            "provider": self.also,
            "adapter": "",
            "lane": 1,
        }
        return [{**first, "batch": self.key}, {**second, "batch": self.key}]


def adapter_of(value: object, provider: str) -> str | None:
    """The name of a tuned model at `provider`; "" for its base model and for what another provider
    has, None where nothing is said.
    """
    match = _ADAPTER.fullmatch(value) if isinstance(value, str) else None
    if match is not None:
        return match[1] if match[2].lower() == provider.lower() else ""
    return "" if value == BASE else None


def _address(given: Mapping[str, Any], name: str) -> str:
    value = given.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > _MAX_ADDRESS_CHARS:
        raise Malformed(_("Choose a provider that offers chat."))
    return value


def _turn(given: Mapping[str, Any], name: str, *, least: int = 1) -> int | None:
    value = given.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 2**63:
        raise Malformed(_("No such question."))
    return value


def _results(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > MAX_CALLS:
        raise Malformed(_("Results are a list of texts."))
    if not all(isinstance(text, str) for text in value):
        raise Malformed(_("Results are a list of texts."))
    return tuple(value)


def _pictures(value: object) -> tuple[UUID, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > MAX_PICTURES:
        raise Malformed(
            _("Up to %(max_pictures)s pictures in one question.") % {"max_pictures": MAX_PICTURES}
        )
    return tuple(_uuid(item) for item in value)


def _uuid(value: object) -> UUID:
    try:
        return UUID(value if isinstance(value, str) else "")
    except ValueError:
        raise Malformed(_("This form is out of date. Load the page again.")) from None
