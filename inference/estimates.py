"""What a question may cost at most, before it is sent, against what can be spent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson

from accounts.models import User
from inference import abilities, attachments, context, costs, readiness, tools, wire
from inference.media.models import File
from inference.models import Chat
from inference.options import MAX_TOKENS, MOST_TOKENS, Options
from ledger import selectors as ledger
from ledger.records import Listing
from protocol import fees

#: Around the words of one message, quotes included, a picture of it, and the form of an answer.
_MESSAGE_BYTES, _PICTURE_BYTES, _FORM_BYTES = 34, 100, 100


def estimate(
    user: User | None,
    chat: Chat | None,
    *,
    provider: str,
    question_bytes: int,
    max_tokens: int,
    pictures: tuple[UUID, ...] = (),
    also: str = "",
    again: int = 0,
    called: int = 0,
    beside: bool = False,
    settings_bytes: int | None = None,
    had: tuple[UUID, ...] | None = None,
) -> dict[str, Any]:
    """`tokens` (about), `most` and `free` (neuron as decimal strings; free is what may be spent
    beyond the reserve, None for a visitor), `enough`, whether a `shorter` answer would be, the
    `turns` and `pictures` that go along, the `context` that the provider says its model reads
    (tokens, 0 unknown), and how many `providers` are asked. Nothing where no provider is chosen.

    With `also` a second provider is asked the same: `most` and `free` are of both together, and
    `enough` holds only where it does at each. With `again` what goes along is what came before that
    turn, as `opening.open_turn` sends it; with `called` that turn and what came before it.
    `beside`: a tuned model and its base model are asked.
    `question_bytes` and `settings_bytes` (None: those stored) are as in JSON, without its quotes.
    `had`: as for `opening.open_turn`.
    """
    wanted = dict.fromkeys(name for name in (provider, also) if name)
    listings = [x for x in map(readiness.chat_service, wanted) if x is not None]
    if not provider or not listings or listings[0].provider != provider:
        return {}
    edited = chat.turns.filter(pk=again).first() if chat and again else None
    leaf = edited.parent_id if edited else called or chat.leaf_id if chat else None
    going = context.context(chat, leaf) if chat else ()
    said = sum(_bytes(x.question) + _bytes(x.answer) for x in going)
    said += sum(tools.size(x.calls, x.results) for x in going)
    said += tools.size((), edited.results) if edited else 0
    if settings_bytes is None:
        settings_bytes = _settings_bytes(chat.options if chat else Options())
    words = question_bytes + said + settings_bytes
    turns = [turn.pk for turn in going] + ([edited.pk] if edited else [])
    files = _pictures(chat, turns, pictures) if chat else []
    if edited and had is not None:
        files = [x for x in files if x.turn_id != edited.pk or x.pk in had]
    longest = min(max_tokens or MAX_TOKENS, MOST_TOKENS)
    form = _MESSAGE_BYTES + _FORM_BYTES if settings_bytes else 0
    size = words + form + _MESSAGE_BYTES * (2 * len(going) + 1) + _PICTURE_BYTES * len(files)
    answers = 2 if beside else 1
    asked = [_Asked.of(user, x, size, longest, files, answers) for x in listings]
    shown = asked[0].shown
    return {
        "tokens": costs.tokens(words) + sum(attachments.tokens(x.width, x.height) for x in shown),
        "most": str(sum(x.most for x in asked)),
        "free": str(sum(x.free for x in asked)) if user else None,
        "enough": all(x.free >= x.most for x in asked),
        "shorter": all(x.free >= x.least for x in asked),
        "turns": len(going),
        "pictures": len(shown),
        "context": abilities.known(listings[0]).context,
        "providers": len(asked),
    }


@dataclass(frozen=True)
class _Asked:
    """One provider: what it may charge for its `answers` at the longest and at the shortest, and
    what may be spent there; neuron. `shown` are the pictures that it is sent.
    """

    most: int
    least: int
    free: int
    shown: list[File]

    @classmethod
    def of(
        cls,
        user: User | None,
        listing: Listing,
        size: int,
        longest: int,
        files: list[File],
        answers: int,
    ) -> _Asked:
        tariff = fees.tariff(listing.input_price, listing.output_price, listing.additional_info)
        bare = wire.request_body(model=listing.model, messages=(), max_tokens=longest)
        size += len(bare)
        shown = files[: attachments.MOST] if abilities.known(listing).pictures else []
        drawn = sum(attachments.most_tokens(x.width, x.height) for x in shown)
        found = ledger.position(user.address, listing.provider, listing.serving) if user else None
        return cls(
            most=answers * costs.most(tariff, size, longest, drawn),
            least=answers * costs.most(tariff, size, 1, drawn),
            free=max(0, found.spendable - fees.MINIMUM_RESERVE) if found else 0,
            shown=shown,
        )


def _bytes(text: str) -> int:
    """Of a text in JSON, without its quotes; what has no JSON counts as it is."""
    try:
        return len(orjson.dumps(text)) - 2
    except orjson.JSONEncodeError:
        return len(text.encode("utf-8", "replace"))


def _settings_bytes(options: Options) -> int:
    """Of what goes along with every question, as `chat-estimate.js` counts what is set there."""
    found = {**({"system": options.system} if options.system else {}), **options.wire()}
    return len(orjson.dumps(found)) - 2


def _pictures(chat: Chat, turns: list[int], chosen: tuple[UUID, ...]) -> list[File]:
    """The newest first: those just chosen, then those of the conversation."""
    before = attachments.of_turns(chat, turns)
    new = attachments.unsent(chat, chosen)
    return [*new, *(file for turn in sorted(before, reverse=True) for file in before[turn])]
