"""Tuned models beside the base model of a chat service (provider-protocol.md 1.6): which one is
asked. Whose they are is for their provider to check."""

from __future__ import annotations

from dataclasses import dataclass

from inference.models import Chat
from inference.pages_turn import Asked
from inference.prompts import adapter_of
from ledger.records import Listing

#: What names of tuned models begin with (`protocol.tuning.adapter_name`).
PREFIX = "ft-"


@dataclass(frozen=True)
class Tuned:
    """A tuned model that can be asked at one provider, and whether it is `asked` next, and its base
    model `beside` it.
    """

    name: str
    provider: str
    asked: bool
    beside: bool

    @property
    def value(self) -> str:
        """As forms name it (`prompts.adapter_of`)."""
        return f"{self.name}@{self.provider}"


def offered(
    named: str, chat: Chat | None, asked: tuple[Asked, ...], service: Listing | None
) -> Tuned | None:
    """The one that the address names, else the one that was asked last in what is shown of a
    conversation; None where there is none.
    """
    name = adapter_of(named, service.provider) if service is not None else None
    if service is not None and name:
        return Tuned(name, service.provider, asked=True, beside=True)
    base = service.model if service is not None else ""  # it may be called like a tuned one
    for question in reversed(asked):
        for turn in question.answers:
            if turn.model.startswith(PREFIX) and turn.model != base:
                going_on = chat is not None and turn.id == chat.leaf_id
                return Tuned(turn.model, turn.provider, going_on, len(question.answers) > 1)
    return None


def wanted(chat: Chat, said: str | None, listing: Listing | None, before: int | None) -> str:
    """The name of the model to ask; where nothing is `said`, the tuned one that the turn `before`
    was asked there, if any (1 query), else the base model.
    """
    if listing is None:
        return ""
    if said is None and before is not None:
        rows = chat.turns.filter(pk=before, provider=listing.provider)
        said = rows.filter(model__startswith=PREFIX).values_list("model", flat=True).first()
    return said or listing.model
