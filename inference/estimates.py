"""What a question may cost at most, before it is sent, against what can be spent."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from accounts.models import User
from inference import abilities, attachments, context, costs, readiness
from inference.media.models import File
from inference.models import Chat
from inference.options import MAX_TOKENS, MOST_TOKENS
from ledger import selectors as ledger
from protocol import fees

#: Around the words of one message and of the request: JSON's own signs.
_MESSAGE_BYTES = 30
_REQUEST_BYTES = 160


def estimate(
    user: User | None,
    chat: Chat | None,
    *,
    provider: str,
    question_bytes: int,
    max_tokens: int,
    pictures: tuple[UUID, ...] = (),
) -> dict[str, Any]:
    """`tokens` (about), `most` and `free` (neuron as decimal strings; free is what may be spent
    beyond the reserve, None for a visitor), `enough`, the `turns` and `pictures` that go along, and
    the `context` that the provider says its model reads (tokens, 0 unknown). Nothing where no
    provider is chosen.
    """
    listing = readiness.chat_service(provider) if provider else None
    if listing is None:
        return {}
    going = context.context(chat, chat.leaf_id).turns if chat else ()
    said = sum(len(x.question.encode()) + len(x.answer.encode()) for x in going)
    system = len(chat.options.system.encode()) if chat else 0
    size = question_bytes + said + system + _MESSAGE_BYTES * (2 * len(going) + 1) + _REQUEST_BYTES
    tariff = fees.tariff(listing.input_price, listing.output_price, listing.additional_info)
    able = abilities.known(listing)
    shown = _pictures(chat, [turn.pk for turn in going], pictures) if chat else []
    shown = shown[: attachments.MOST] if able.pictures else []
    longest = min(max_tokens or MAX_TOKENS, MOST_TOKENS)
    most_shown = sum(attachments.most_tokens(x.width, x.height) for x in shown)
    most = costs.most(tariff, size, longest, most_shown)
    position = ledger.position(user.address, listing.provider, listing.serving) if user else None
    free = max(0, position.spendable - fees.MINIMUM_RESERVE) if position else 0
    return {
        "tokens": costs.tokens(question_bytes + said + system)
        + sum(attachments.tokens(x.width, x.height) for x in shown),
        "most": str(most),
        "free": str(free) if user else None,
        "enough": free >= most,
        "turns": len(going),
        "pictures": len(shown),
        "context": able.context,
    }


def _pictures(chat: Chat, turns: list[int], chosen: tuple[UUID, ...]) -> list[File]:
    """The newest first: those just chosen, then those of the conversation."""
    before = attachments.of_turns(chat, turns)
    new = attachments.unsent(chat, chosen)
    return [*new, *(file for turn in sorted(before, reverse=True) for file in before[turn])]
