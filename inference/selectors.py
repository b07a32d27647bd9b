"""Reads of the chat's pages. Chats come from `inference.access`, so everything here is the
owner's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from uuid import UUID

from django.urls import reverse
from django.utils import timezone

from accounts import keys
from accounts import selectors as accounts
from accounts.models import User
from attestation import selectors as attestation
from attestation.selectors import UNKNOWN, ServiceKey, standing_of
from inference import (
    abilities,
    access,
    attachments,
    choosing,
    context,
    conversations,
    costs,
    guard,
    presets,
    readiness,
    search,
    tuned,
)
from inference.branches import Tree
from inference.choosing import Chosen
from inference.errors import ChatError, SignerChanged
from inference.formulas import Room
from inference.models import Chat, Medium, State, Turn
from inference.opening import MAX_PROMPT_CHARS
from inference.options import Options
from inference.pages import ChatPage, Conversation, Had, Search, ServiceOption, SidePage
from inference.pages_turn import Asked, Other
from inference.readiness import Held, Readiness
from ledger import selectors as ledger
from ledger.models import Kind
from ledger.records import Listing
from ledger.selectors import ServiceQuery
from protocol import fees

SHOWN_CONVERSATIONS = 50
#: Of one page, as far as they are not longer together: laying out a tenth of a megabyte can take a
#: second.
SHOWN_TURNS, SHOWN_BYTES = 100, 200_000
SHOWN_OTHERS, LOOKED_AT_OTHERS = 2, 6


@dataclass(frozen=True)
class Visit:
    """Who looks, in which session, and what the address asks for."""

    user: User | None
    session_key: str | None = None
    provider: str = ""
    draft: str = ""
    words: str = ""
    deleted: UUID | None = None
    again: int = 0
    preset: int = 0
    adapter: str = ""
    also: str = ""
    settings: Options | None = None
    had: tuple[UUID, ...] | None = None
    called: int = 0
    results: tuple[str, ...] = ()
    older: int = 1
    before: int = 0


def chat_page(visit: Visit, chat: Chat | None, error: ChatError | None = None) -> ChatPage:
    """The playground with a conversation open, or a new one (about 15 queries, however many
    rows).
    """
    wanted = visit.provider or (chat.provider if chat else "")
    listings = chat_listings(also=wanted, user=visit.user)
    named = Chosen(next((x for x in listings if x.provider == wanted), None))
    choice = named if wanted else choosing.first(visit.user, listings, Medium.CHAT)
    service = choice.service
    lines, more, found = _conversations(visit, chat)
    thread = _thread(chat, listings, visit)
    asked = thread.asked
    settings = visit.settings or (chat.options if chat else _first_options(visit.user))
    saved = presets.of(visit.user)
    chosen = next((own for own in saved if own.id == visit.preset), None)
    if chosen is not None:
        settings = replace(chosen.options, verified=settings.verified)
    return ChatPage(
        conversations=lines,
        more_conversations=more,
        older=visit.older,
        search=found,
        chat=chat,
        asked=asked,
        earlier_turns=thread.earlier,
        later_turns=thread.later,
        left_out=thread.left_out,
        settings=settings,
        own_presets=saved,
        abilities=abilities.known(service),
        tuned=tuned.offered(visit.adapter, chat, asked, service),
        choices=options(listings, service),
        side=side_page(
            visit.user,
            service,
            verified=settings.verified,
            back=reverse("inference:chat", args=[chat.pk]) if chat else "",
            why=choice.why,
        ),
        max_prompt=MAX_PROMPT_CHARS,
        deleted=access.comes_back(visit.user, visit.deleted, visit.session_key, Medium.CHAT),
        preset=chosen.id if chosen else 0,
        draft=visit.draft or _question(chat, visit.again) or (chosen.body if chosen else ""),
        again=visit.again,
        had=_had(chat, visit),
        also=visit.also,
        error=error.sentence if error else "",
        error_href=error.href if error else "",
        new_signer=error.signer if isinstance(error, SignerChanged) else "",
    )


def options(listings: list[Listing], chosen: Listing | None) -> tuple[ServiceOption, ...]:
    """The choices of a provider select, each with the word about its machine; a failure is told,
    however old (1 query)."""
    known = attestation.standings([ServiceKey.of(x) for x in listings])
    return tuple(
        ServiceOption(
            provider=x.provider,
            model=x.model,
            input_price=x.input_price,
            output_price=x.output_price,
            selected=x is chosen,
            verdict=view.judged if view.failed else view.overall,
        )
        for x in listings
        for view in (known[ServiceKey.of(x)],)
    )


def _first_options(user: User | None) -> Options:
    """Those of a new conversation: the defaults, except for whether the person's last one was to
    send to verified providers only.
    """
    return Options(verified=user is not None and conversations.last_options(user).verified)


def _question(chat: Chat | None, turn_id: int) -> str:
    """What was asked in a turn that is about to be edited without JavaScript."""
    turn = chat.turns.filter(pk=turn_id).first() if chat and turn_id else None
    return turn.question if turn else ""


def _had(chat: Chat | None, visit: Visit) -> tuple[Had, ...]:
    """The pictures of the question that is being edited."""
    files = attachments.of_turns(chat, [visit.again]) if chat and visit.again else {}
    return tuple(
        Had(file, kept=visit.had is None or file.pk in visit.had)
        for file in files.get(visit.again, ())
    )


def _conversations(
    visit: Visit, chat: Chat | None
) -> tuple[tuple[Conversation, ...], bool, Search | None]:
    if visit.user is None:
        return (), False, None
    if visit.words:
        hits, found = search.search(visit.user, visit.session_key, visit.words)
        return tuple(Conversation.of(hit.chat, chat, hit.excerpt) for hit in hits), False, found
    rows = access.chats_of(visit.user, visit.session_key).filter(asked=True)
    first = SHOWN_CONVERSATIONS * (visit.older - 1)
    newest = list(rows[first : first + SHOWN_CONVERSATIONS + 1])
    lines = tuple(Conversation.of(x, chat) for x in newest[:SHOWN_CONVERSATIONS])
    return lines, len(newest) > SHOWN_CONVERSATIONS, None


@dataclass(frozen=True)
class _Thread:
    """What is shown of the branch, how many turns are before and after that, and how many of those
    shown are not sent.
    """

    asked: tuple[Asked, ...] = ()
    earlier: int = 0
    later: int = 0
    left_out: int = 0


def _thread(chat: Chat | None, listings: list[Listing], visit: Visit) -> _Thread:
    """The end of the shown branch, or what is before one of its turns."""
    before = visit.before
    if chat is None:
        return _Thread()
    tree = conversations.tree_of(chat)
    path = tree.path(chat.leaf_id)
    until = path.index(before) if before in path[1:] else len(path)
    places = {pk: tree.place(pk) for pk in path[:until][-SHOWN_TURNS:]}
    shown = conversations.newest(
        chat, path[:until], turns=SHOWN_TURNS, size=SHOWN_BYTES,
        beside={pk: place.columns for pk, place in places.items()},
    )  # fmt: skip
    turns = _turns(chat, {one for pk in shown for one in places[pk].columns})
    pictures = attachments.of_turns(chat, shown)
    sent = {turn.pk for turn in context.context(chat, chat.leaf_id)}
    first_sent = min(sent, default=next((pk for pk in path if pk > chat.forgotten), 0))
    left_out = sum(
        pk < first_sent and context.said_something(turns[pk]) for pk in shown if pk in turns
    )
    room = Room()
    newest_first = [
        Asked.of(
            turns[pk],
            places[pk],
            turns,
            cut=bool(left_out) and pk == first_sent,
            last=pk == path[-1],
            others=alternatives(turns[pk], listings) if pk == path[-1] else (),
            oldest=_oldest(turns[pk]) if pk == path[-1] else (),
            pictures=tuple(pictures.get(pk, ())),
            typed={visit.called: visit.results},
            room=room,
            left=_left_after_first(turns[pk]) if len(path) == 1 else None,
        )
        for pk in reversed(shown)
        if pk in turns
    ]
    return _Thread(tuple(reversed(newest_first)), until - len(shown), len(path) - until, left_out)


def _turns(chat: Chat, wanted: set[int]) -> dict[int, Turn]:
    heavy = ("request_sealed", "response_sealed", "arrivals_sealed", "signature")
    return {turn.pk: turn for turn in chat.turns.filter(pk__in=wanted).defer(*heavy)}


def asked(turn: Turn) -> Asked:
    """One turn's question with all answers beside it."""
    chat = turn.chat
    tree: Tree = conversations.tree_of(chat)
    place = tree.place(turn.pk)
    last = chat.leaf_id is None or tree.path(chat.leaf_id)[-1:] == [turn.pk]
    failed = turn.state in (State.FAILED, State.CUT_OFF)
    return Asked.of(
        turn,
        place,
        _turns(chat, set(place.columns)),
        last=last,
        others=alternatives(turn, chat_listings(user=chat.owner)) if failed else (),
        oldest=_oldest(turn),
        pictures=tuple(attachments.of_turns(chat, [turn.pk]).get(turn.pk, ())),
        left=_left_after_first(turn),
    )


def _left_after_first(turn: Turn) -> int | None:
    """Neuron that can at least still be spent at the provider, where this was the person's very
    first request: nobody has told them yet what an answer leaves (2 queries for the first turn of a
    conversation, else none).
    """
    if turn.parent_id is not None or turn.state == State.OPEN:
        return None
    owner = turn.chat.owner
    if Turn.objects.filter(chat__owner=owner).exclude(pk=turn.pk).exists():
        return None
    held = ledger.position(owner.address, turn.provider, turn.serving)
    # Whether the answer is settled already is not known here: it may count twice.
    return max(0, held.spendable - fees.MINIMUM_RESERVE - turn.fee) if held else None


def _oldest(turn: Turn) -> tuple[Turn, ...]:
    """The older half of what went along with a question that was too long."""
    if turn.failure != "too_long":
        return ()
    sent = context.context(turn.chat, turn.parent_id)
    return sent[: (len(sent) + 1) // 2]


def alternatives(turn: Turn, listings: list[Listing]) -> tuple[Other, ...]:
    """Whom else one could ask after an answer that did not come: where the person's money pays for
    it, then the same model, then by price, with what each would cost at most and what is known
    about its machine. None whose evidence failed, and only verified ones where those alone are
    asked (3 queries, and up to 24 there).
    """
    if turn.state not in (State.FAILED, State.CUT_OFF):
        return ()
    maximum = _most(_tariff(turn), turn)
    found = [x for x in listings if x.provider != turn.provider and x.tee_signer_acknowledged]
    if turn.picture_tokens:
        found = [x for x in found if abilities.known(x).pictures]
    prices = {x.provider: _most(_tariff(x), turn) for x in found}
    funded = {
        x.provider for x in choosing.paid_for(turn.chat.owner, found, lambda x: prices[x.provider])
    }
    found.sort(key=lambda x: (x.provider not in funded, x.model != turn.model, prices[x.provider]))
    known = attestation.standings([ServiceKey.of(x) for x in found])
    found = [x for x in found if not known[ServiceKey.of(x)].failed]
    if turn.chat.options.verified:
        found = [x for x in found[:LOOKED_AT_OTHERS] if not guard.doubt(x, guard.signer_of(x))]
    return tuple(
        Other(
            provider=x.provider,
            model=x.model,
            most=prices[x.provider],
            difference=prices[x.provider] - maximum,
            verdict=known[ServiceKey.of(x)].overall,
            funded=x.provider in funded,
        )
        for x in found[:SHOWN_OTHERS]
    )


def _most(tariff: fees.Tariff, turn: Turn) -> int:
    return costs.most(tariff, turn.text_bytes, turn.max_tokens, turn.picture_tokens)


def _tariff(service: Turn | Listing) -> fees.Tariff:
    return fees.tariff(service.input_price, service.output_price, service.additional_info)


def side_page(
    user: User | None,
    service: Listing | None,
    *,
    medium: Medium = Medium.CHAT,
    fee: int | None = None,
    verified: bool = False,
    back: str = "",
    why: str = "",
) -> SidePage:
    """What depends on the provider chosen (6 queries, and 4 where only verified ones are asked);
    `fee` as for `readiness.check`; `back` is the path of the open conversation; `why` it stands
    chosen where nobody chose.
    """
    has = readiness.held(user, service) if user and service else None
    found = _readiness(user, service, verified, fee, has)
    # Whoever has an account needs no first deposit: the chain is asked for the others alone.
    limits = accounts.limits() if found.code == "no_ledger" else None
    return SidePage(
        service=service,
        standing=standing_of(ServiceKey.of(service)) if service else UNKNOWN,
        readiness=found,
        signed_in=user is not None,
        has_key=bool(
            user and service and keys.usable(user, service.provider, timezone.now()) is not None
        ),
        balance=has.balance if has else 0,
        spendable=has.spendable if has else 0,
        medium=medium,
        back=back,
        why=why,
        least=limits[0] if limits else 0,
    )


def _readiness(
    user: User | None,
    service: Listing | None,
    verified: bool,
    fee: int | None,
    has: Held | None,
) -> Readiness:
    """What stands in the way; a wish for verified providers comes before money."""
    if verified and service is not None and service.tee_signer_acknowledged:
        why = guard.doubt(service, guard.signer_of(service))
        if why:
            return Readiness("not_verified", why=why)
    return readiness.check(user, service, fee=fee, has=has)


def chat_listings(
    service_type: str = fees.CHAT, also: str = "", user: User | None = None
) -> list[Listing]:
    """Chat services (or those of another type) a `user` can choose, accepted signers first, then by
    price; one per provider. `also`: a provider that somebody named, even if moderators hid it.
    """
    query = ServiceQuery(kind=Kind.INFERENCE.value, type=service_type, sort="price")
    found = choosing.offered(query, user)
    if also and also not in {x.provider for x in found}:
        named = readiness.chat_service(also)
        if named is not None and named.service_type == service_type:
            found.append(named)
    return sorted(found, key=lambda x: not x.tee_signer_acknowledged)
