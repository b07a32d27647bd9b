"""Reads of the chat's pages. Chats come from `inference.access`, so everything here is the
owner's.
"""

from __future__ import annotations

from django.utils import timezone

from accounts import keys
from accounts.models import User
from inference import readiness
from inference.errors import ChatError, SignerChanged
from inference.models import Chat
from inference.pages import ChatPage, Conversation, ServiceOption, SidePage, TurnView
from inference.services import MAX_PROMPT_CHARS
from ledger import selectors as ledger
from ledger.models import Kind
from ledger.records import Listing
from ledger.selectors import ServiceQuery

SHOWN_CONVERSATIONS = 50
SHOWN_TURNS = 100
CHAT_TYPE = "chatbot"
EXAMPLES = (
    "How is an answer's signature checked?",
    "What does a provider keep in reserve?",
    "How do I get my money back?",
    "What does this site never know about me?",
)


def chat_page(
    user: User | None,
    chat: Chat | None,
    provider: str = "",
    *,
    draft: str = "",
    error: ChatError | None = None,
) -> ChatPage:
    """The playground with a conversation open, or a new one (about 12 queries, however many
    rows).
    """
    wanted = provider or (chat.provider if chat else "")
    listings = chat_listings()
    service = next((x for x in listings if x.provider == wanted), None)
    if service is None and not wanted and listings:
        service = listings[0]
    conversations = list(
        Chat.objects.filter(owner=user)
        .exclude(title="")
        .order_by("-updated_at")[: SHOWN_CONVERSATIONS + 1]
        if user
        else ()
    )
    turns = list(chat.turns.order_by("-pk")[: SHOWN_TURNS + 1]) if chat else []
    earlier = chat.turns.count() - SHOWN_TURNS if chat and len(turns) > SHOWN_TURNS else 0
    return ChatPage(
        conversations=tuple(Conversation.of(x, chat) for x in conversations[:SHOWN_CONVERSATIONS]),
        more_conversations=len(conversations) > SHOWN_CONVERSATIONS,
        chat=chat,
        turns=tuple(TurnView.of(turn) for turn in reversed(turns[:SHOWN_TURNS])),
        earlier_turns=earlier,
        options=tuple(
            ServiceOption(x.provider, x.model, x.input_price, x.output_price, x is service)
            for x in listings
        ),
        side=side_page(user, service),
        max_prompt=MAX_PROMPT_CHARS,
        examples=EXAMPLES,
        draft=draft,
        error=error.sentence if error else "",
        new_signer=error.signer if isinstance(error, SignerChanged) else "",
    )


def side_page(user: User | None, service: Listing | None) -> SidePage:
    """What depends on the provider chosen (7 queries)."""
    position = (
        ledger.position(user.address, service.provider, service.serving)
        if user and service
        else None
    )
    return SidePage(
        service=service,
        readiness=readiness.check(user, service),
        signed_in=user is not None,
        has_key=bool(
            user and service and keys.usable(user, service.provider, timezone.now()) is not None
        ),
        balance=position.balance if position else 0,
        spendable=position.spendable if position else 0,
    )


def chat_listings() -> list[Listing]:
    """Chat services one can choose, accepted signers first, then by price; one per provider."""
    query = ServiceQuery(kind=Kind.INFERENCE.value, type=CHAT_TYPE, sort="price")
    found = ledger.services(query, page_size=ledger.MAX_PAGE_SIZE).items
    best: dict[str, Listing] = {}
    for listing in found:
        known = best.get(listing.provider)
        if known is None or (listing.recommended and not known.recommended):
            best[listing.provider] = listing
    return sorted(best.values(), key=lambda x: not x.tee_signer_acknowledged)
