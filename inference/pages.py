"""One frozen dataclass per page or fragment: the whole of what its template sees as `page`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlencode
from uuid import UUID, uuid4

from django.conf import settings
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as N_

from accounts import links, money
from attestation import assurance
from attestation.selectors import StandingView
from inference.abilities import NOTHING, Abilities
from inference.media.models import File
from inference.models import Chat, Medium
from inference.options import PRESETS, Options, Preset
from inference.pages_turn import Asked
from inference.presets import Own, Version
from inference.prompts import MAX_PICTURES
from inference.readiness import Readiness
from inference.shares import Link
from inference.tuned import Tuned
from ledger.records import Listing
from protocol import fees

#: What a model can answer: of this site and of anybody's money here it knows nothing.
EXAMPLES = (
    N_("Explain a hash tree to a child"),
    N_("Compare proof of stake with proof of work"),
    N_("Write a regular expression for dates like 2026-05-31"),
    N_("Draft a friendly mail that declines a meeting"),
)
#: What the demo's models can answer: they quote the documentation, and so in English.
DEMO_EXAMPLES = (
    "How do I get my money back?",
    "Why does a call need more than 1 0G?",
    "What is a sub-account?",
    "How long does a refund take?",
)


@dataclass(frozen=True)
class Conversation:
    """A line of the list of conversations; `excerpt` is what a search found in it."""

    id: UUID
    title: str
    updated_at: dt.datetime
    current: bool
    kept: bool = True
    excerpt: str = ""

    @classmethod
    def of(cls, chat: Chat, current: Chat | None, excerpt: str = "") -> Self:
        here = current is not None and chat == current
        return cls(chat.pk, chat.title, chat.updated_at, here, chat.kept, excerpt)


@dataclass(frozen=True)
class ServiceOption:
    """A choice of the provider select; `verdict` is the word about its machine, the other strings
    are the provider's own.
    """

    provider: str
    model: str
    input_price: int
    output_price: int
    selected: bool
    verdict: str

    @property
    def second(self) -> int:
        """Neuron for a second of speech, by the higher of the two prices that brokers go by."""
        return max(self.input_price, self.output_price)


#: Of what is asked for by hand: its page, what a provider of it offers, the type of its services.
MEDIA = {
    Medium.CHAT: ("/playground/chat", N_("chat"), fees.CHAT),
    Medium.IMAGES: ("/playground/images", N_("pictures"), fees.IMAGES[0]),
    Medium.SPEECH: ("/playground/audio", N_("transcripts"), fees.SPEECH),
    Medium.EMBED: ("/playground/embeddings", N_("embeddings"), fees.EMBEDDING),
}


@dataclass(frozen=True)
class SidePage:
    """What depends on the chosen provider: its facts, the person's balance there, what to do
    first. `back` is the path of the conversation that is open, if one is.
    """

    service: Listing | None
    standing: StandingView
    readiness: Readiness
    signed_in: bool
    has_key: bool
    balance: int
    spendable: int
    reserve: int = fees.MINIMUM_RESERVE
    medium: Medium = Medium.CHAT
    back: str = ""
    why: str = ""
    #: The contract's minimum for a first deposit, where that comes next; 0: not known.
    least: int = 0

    @property
    def noun(self) -> str:
        """What such a provider offers."""
        return _(MEDIA[self.medium][1])

    @property
    def minute(self) -> int:
        """Neuron for a minute of speech, by the higher of the two prices that brokers go by."""
        listing = self.service
        return 60 * max(listing.input_price, listing.output_price) if listing else 0

    @property
    def all_path(self) -> str:
        """The catalogue of such services."""
        return f"/?type={MEDIA[self.medium][2]}"

    @property
    def in_clear(self) -> bool:
        """Whether key and text would travel readable for everybody on the way."""
        return self.service is not None and assurance.in_clear(self.service.url)

    @property
    def provider(self) -> str:
        return self.service.provider if self.service else ""

    @property
    def back_path(self) -> str:
        """Where the person goes on once the money is there: this page, this provider."""
        return (self.back or MEDIA[self.medium][0]) + f"?provider={self.provider}"

    @property
    def anyway_path(self) -> str:
        """Where it is said why moderators hid the service, and asking it is confirmed."""
        key = f"{self.service.serving}:{self.provider}" if self.service else ""
        return "/moderation/anyway?" + urlencode({"key": key, "then": self.back_path})

    @property
    def transfer_path(self) -> str:
        """The form that transfers to the provider what it needs, and leads back here."""
        return self._transfer(self.readiness.transfer)

    @property
    def deposit_path(self) -> str:
        """Where to deposit what a transfer to this provider still lacks; the transfer follows."""
        then = self._transfer(self.readiness.wanted)
        form = {"action": "deposit", "amount": money.exact(self.deposit), "then": then}
        return "/account?" + urlencode(form)

    def _transfer(self, amount: int) -> str:
        """The service in its contract: a provider may have one of the same kind in another."""
        if self.service is None:
            return "/account?action=transfer"
        filled = {"amount": money.exact(amount)} if amount else {}
        return links.form("transfer", self.service, **filled, then=self.back_path)

    @property
    def deposit(self) -> int:
        """What the wallet has to give first; neuron."""
        return self.readiness.deposit(self.least)

    @property
    def most(self) -> int:
        """The most one ordinary question can cost; neuron."""
        return max(0, self.readiness.need - self.reserve)

    @property
    def waiting(self) -> bool:
        """Whether something that happens elsewhere (a transaction) can change this soon."""
        return self.readiness.code in ("no_ledger", "not_funded", "not_acknowledged")


@dataclass(frozen=True)
class Had:
    """A picture of a question that is being edited; `kept`: it is sent again."""

    file: File
    kept: bool


@dataclass(frozen=True)
class Search:
    """What was looked for in how many turns, and how many conversations hold it."""

    words: str
    looked_at: int
    found: int
    more: bool


@dataclass(frozen=True)
class ChatPage:
    """The playground: conversations, the thread, and the side."""

    conversations: tuple[Conversation, ...]
    more_conversations: bool
    #: Which part of them is shown, from 1.
    older: int
    search: Search | None
    chat: Chat | None
    asked: tuple[Asked, ...]
    earlier_turns: int
    later_turns: int
    left_out: int
    settings: Options
    choices: tuple[ServiceOption, ...]
    side: SidePage
    max_prompt: int
    deleted: UUID | None = None
    draft: str = ""
    again: int = 0
    had: tuple[Had, ...] = ()
    also: str = ""
    error: str = ""
    error_href: str = ""
    new_signer: str = ""
    presets: tuple[Preset, ...] = PRESETS
    own_presets: tuple[Own, ...] = ()
    #: The one of them that the address names.
    preset: int = 0
    abilities: Abilities = NOTHING
    most_pictures: int = MAX_PICTURES
    tuned: Tuned | None = None
    #: Sent twice, the form of this page asks once.
    key: UUID = field(default_factory=uuid4)

    @property
    def demo(self) -> bool:
        """Whether those who answer are likely the demo's."""
        return settings.IS_DEVNET

    @property
    def examples(self) -> tuple[str, ...]:
        return DEMO_EXAMPLES if self.demo else EXAMPLES


@dataclass(frozen=True)
class PresetsPage:
    """A person's presets. `error` is of the one `failed` (0: new, -1: of a file), whose form said
    `typed`; `deleted` can come back.
    """

    presets: tuple[Own, ...]
    error: str = ""
    failed: int = 0
    typed: Mapping[str, Any] | None = None
    deleted: int = 0
    #: Which of them said something else before.
    changed: frozenset[int] = frozenset()


@dataclass(frozen=True)
class VersionsPage:
    """A preset and what it said before; `error` of one that cannot be taken up again."""

    preset: Own
    versions: tuple[Version, ...]
    error: str = ""


@dataclass(frozen=True)
class SharePage:
    """The links of one conversation. `answers`: how many a link made now would show, `results`:
    whether results of functions are among that; `lifetimes`: days and their words."""

    chat: Chat
    links: tuple[Link, ...]
    answers: int
    lifetimes: tuple[tuple[int, str], ...]
    usual: int
    site_url: str
    error: str = ""
    #: Whether the person's signature is new enough to make a link.
    fresh: bool = False
    results: bool = False
