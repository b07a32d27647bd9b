"""Reads of the ledger for pages and API: frozen values (`ledger.records`), a constant number of
queries each.

All of them show the newest state (final rows with the pending ones on top, `Model.current`).
Addresses given to a function must be EIP-55: `address_of` makes them so. Sums over many rows live
in `ledger.statistics`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from django.db import connection
from django.db.models import F, Model, OrderBy, Q, QuerySet, Sum, Value
from django.db.models.functions import Left, Lower
from eth_utils.address import is_hex_address

from ledger import listed
from ledger.cursors import Place, older
from ledger.models import (
    LISTED_MODEL,
    LISTED_OUTPUT,
    LISTED_PRICE,
    LISTED_UNIT,
    SORTED_LENGTH,
    Kind,
    Ledger,
    Movement,
    Service,
    ServiceChange,
    ServiceTotal,
    ServingContract,
    SubAccount,
)
from ledger.records import (
    Account,
    ChangeEntry,
    Contract,
    Listing,
    MovementEntry,
    Page,
    Position,
    Purse,
)
from net.postgres.moment import one_moment
from protocol.addresses import checksum, is_mistyped

Row = TypeVar("Row")
Table = TypeVar("Table", bound=Model)
Item = TypeVar("Item")

KINDS: tuple[str, ...] = (Kind.INFERENCE.value, Kind.FINE_TUNING.value)
PAGE_SIZE = 25
MAX_PAGE_SIZE = 200
#: PostgreSQL's OFFSET is a 64-bit number; nobody reads that far.
MAX_PAGE = 1_000_000

#: `sort=` values and their columns; ties break by provider, a leading `-` turns all of it round.
#: Prices are ordered within their unit: tokens, pictures, seconds, tokens of training, either way.
SORTS: dict[str, str] = {
    "model": "model",
    "price": "price",
    "input_price": "input_price",
    "output_price": "output_price",
    "stake": "stake",
    "updated": "updated_at_unix",
    "created": "created_block",
    "provider": "provider",
    "type": "service_type",
}
_PRICES = {"price": LISTED_PRICE, "input_price": F("input_price"), "output_price": LISTED_OUTPUT}


def address_of(text: str) -> str | None:
    """The EIP-55 form of a 20-byte hex address, or None. A mixed-case address with a wrong
    checksum is refused.
    """
    if not (text.startswith(("0x", "0X")) and is_hex_address(text)):
        return None
    return None if is_mistyped(text) else checksum(text)


_SHORTENED = re.compile(r"(0x[0-9a-f]{2,38})(?:…|\.{2,3})([0-9a-f]{0,38})", re.IGNORECASE)


def shortened(name: str, text: str) -> Q | None:
    """The condition that the column `name` has an address that pages shorten so (`0x1234…abcd`);
    None for other texts. Anybody can make an address of the same few digits."""
    found = _SHORTENED.fullmatch(text)
    if found is None:
        return None
    return Q(**{f"{name}__istartswith": found[1], f"{name}__iendswith": found[2]})


def contracts() -> dict[str, Contract]:
    """All serving contracts by address, in registration order (1 query)."""
    rows = ServingContract.current.order_by("registered_block", "address")
    return {row.address: Contract.of(row) for row in rows}


def recommended(kind: str, known: dict[str, Contract]) -> Contract | None:
    """The contract of a kind that the LedgerManager recommends, else the one registered last."""
    of_kind = [contract for contract in known.values() if contract.kind == kind]
    return max(
        of_kind,
        key=lambda contract: (contract.recommended, contract.registered_block),
        default=None,
    )


# --- services -----------------------------------------------------------------------------------

_VERSION = """
SELECT (SELECT MAX(block) FROM ledger_service), (SELECT MAX(id) FROM ledger_service),
    (SELECT MAX(block) FROM ledger_servingcontract), (SELECT MAX(id) FROM ledger_servingcontract),
    ({left_out})
"""


def listings_version() -> str:
    """Names the present state of all listings and serving contracts; empty while there is none
    (1 query, by indexes).

    A change of a listing raises the newest block; pending rows are written anew with every block,
    so their ids tell a reorganised block from the one it replaced. What lists leave out is part of
    the state (`ledger.listed`).
    """
    sql, given = listed.version()
    with connection.cursor() as cursor:
        cursor.execute(_VERSION.format(left_out=sql), given)
        found = cursor.fetchone()
    return "" if found[1] is None else "/".join(str(part) for part in found)


class Condition(Protocol):
    """What a layer above knows about services: hashable, and equal only to what selects the
    same.
    """

    def q(self) -> Q:
        """A condition on `Service`."""
        ...


@dataclass(frozen=True)
class ServiceQuery:
    """Filters of the services list, as they come from a URL; empty means "any".

    `q`: words that must all occur in model, provider address, URL, type or trained models (the
    first `SEARCHED_LENGTH` characters of each, in any case). `where`: a condition of a layer above
    (`attestation.selectors.verified`). `known_as`: for each word of `q` the providers that a layer
    above knows by it. `sort`: a key of `SORTS`, with `-` for descending.
    `everything`: also what lists leave out (`ledger.listed`).
    """

    kind: str = ""
    type: str = ""
    q: str = ""
    model: str = ""
    where: Condition | None = None
    known_as: tuple[tuple[str, ...], ...] = ()
    sort: str = "model"
    everything: bool = False

    @property
    def unsorted(self) -> ServiceQuery:
        """What decides which services are selected, and how many."""
        return replace(self, sort="model")

    def without(self, *names: str) -> ServiceQuery:
        """The same query with these filters lifted (for facet counts and for "clear filter"
        links).
        """
        cleared = dict.fromkeys(names, "")
        return ServiceQuery(**{**self.__dict__, **cleared})


def matching(query: ServiceQuery) -> QuerySet[Service]:
    """Listed services that a query selects, unordered."""
    rows = listed.rows(everything=query.everything)
    # PostgreSQL text holds no NUL: nothing can match one, and asking would be an error.
    if any("\x00" in text for text in (query.kind, query.type, query.q, query.model)):
        return rows.none()
    if query.where is not None:
        rows = rows.filter(query.where.q())
    if query.kind:
        rows = rows.filter(kind=query.kind)
    if query.type:
        rows = rows.filter(service_type=query.type)
    if query.model:
        rows = rows.filter(Q(model=query.model) | Q(model_list__contains=[query.model]))
    words = query.q.split()[:8]
    for number, word in enumerate(words):
        named = query.known_as[number] if number < len(query.known_as) else ()
        # Lower-cased by the database, as the column was.
        found = Q(search__contains=Lower(Value(word)))
        if (seen := shortened("provider", word)) is not None:
            found |= seen
        rows = rows.filter(found | Q(provider__in=named) if named else found)
    return rows


def services(
    query: ServiceQuery, page: int = 1, page_size: int = PAGE_SIZE, count: int | None = None
) -> Page[Listing]:
    """One page of the services list (3 queries; 2 where the caller knows the `count` of all). An
    unknown `sort` falls back to `model`."""
    descending = query.sort.startswith("-")
    name = SORTS.get(query.sort.removeprefix("-"), "model")
    # Texts are a stranger's, of any length.
    texts = {"model": LISTED_MODEL, "service_type": Left("service_type", SORTED_LENGTH)}
    column = texts.get(name, _PRICES.get(name, F(name)))
    ties = (F("kind"), F("provider"), F("serving"))
    parts: tuple[Any, ...] = (column, *ties)
    order: list[Any] = [OrderBy(part, descending=descending) for part in parts]
    units = [LISTED_UNIT] if name in _PRICES else []
    rows = matching(query).defer("search").order_by(*units, *order)
    known = contracts()
    return paginate(rows, page, page_size, lambda row: Listing.of(row, known), count)


def service(
    kind: str, provider: str, service_name: str = "", *, include_removed: bool = False
) -> Listing | None:
    """A provider's service of a kind (2 queries).

    Without a name: the one in the recommended serving contract, else in the contract registered
    last among those the provider is listed in (a network may have two of a kind). Removed ones
    only with `include_removed`.
    """
    known = contracts()
    rows = Service.current.filter(kind=kind, provider=provider).defer("search")
    if not include_removed:
        rows = rows.filter(removed=False)
    found = [Listing.of(row, known) for row in rows]
    if service_name:
        found = [listing for listing in found if listing.service_name == service_name]

    def preference(listing: Listing) -> tuple[bool, bool, int]:
        registered = known[listing.serving].registered_block if listing.serving in known else -1
        return (not listing.removed, listing.recommended, registered)

    return max(found, key=preference, default=None)


def services_of(provider: str, *, include_removed: bool = False) -> tuple[Listing, ...]:
    """All services of one provider, inference first (2 queries)."""
    known = contracts()
    rows = Service.current.filter(provider=provider).defer("search")
    rows = rows.order_by("-kind", "created_block", "serving")
    if not include_removed:
        rows = rows.filter(removed=False)
    return tuple(Listing.of(row, known) for row in rows)


def unlisted(where: Condition) -> tuple[Listing, ...]:
    """Services that a condition selects and no list shows: left out, or removed (2 queries)."""
    rows = Service.current.filter(where.q()).exclude(pk__in=listed.rows().values("pk"))
    known = contracts()
    return tuple(Listing.of(row, known) for row in rows.defer("search").order_by("model", "pk"))


def offers(provider: str) -> bool:
    """Whether an address offers or ever offered a service (1 query)."""
    return Service.current.filter(provider=provider).exists()


# --- histories, newest first --------------------------------------------------------------------


def changes_where(
    known: Mapping[str, Contract], provider: str = "", serving: str = "", kind: str = ""
) -> Q:
    """The condition of such filters, on `ServiceChange` and on `ServiceTotal`."""
    where = Q(provider=provider) if provider else Q()
    if serving:
        where &= Q(serving=serving)
    if kind:
        where &= Q(serving__in=[c.address for c in known.values() if c.kind == kind])
    return where


def timeline(
    provider: str = "",
    serving: str = "",
    kind: str = "",
    page: int = 1,
    page_size: int = PAGE_SIZE,
    *,
    change: str = "",
    after: Place | None = None,
) -> Page[ChangeEntry]:
    """On-chain changes of listings: of one provider, in one serving contract, of one kind, of one
    sort of `change` where given (3 queries).
    """
    known = contracts()
    where = changes_where(known, provider, serving, kind)
    rows = ServiceChange.objects.filter(where)
    if change:
        rows = rows.filter(change=change)
    count = None if change else counted("changes", where & Q(provider=provider))
    return history(rows, page, page_size, after, lambda row: ChangeEntry.of(row, known), count)


def movements(
    user: str, page: int = 1, page_size: int = PAGE_SIZE, *, after: Place | None = None
) -> Page[MovementEntry]:
    """Every movement of an account (3 queries)."""
    known = contracts()
    rows = Movement.objects.filter(user=user)
    return history(rows, page, page_size, after, lambda row: MovementEntry.of(row, known))


def counted(column: str, where: Q) -> int:
    """How many rows of a history there are, by a column of `ServiceTotal`: without counting them
    (1 query). `where` names a provider, or "" for all of them."""
    return ServiceTotal.objects.filter(where).aggregate(found=Sum(column))["found"] or 0


def moved_since_acknowledged(
    listings: Iterable[Listing],
) -> dict[tuple[str, str], tuple[ServiceChange, int]]:
    """By serving contract and provider: the newest change of URL and the block of the owner's
    acknowledgement, of acknowledged listings where the URL changed after it (1 query, none where
    nothing is acknowledged)."""
    accepted = [row for row in listings if row.tee_signer_acknowledged]
    agreed = {(row.serving, row.provider): row.created_block for row in accepted}
    if not agreed:
        return {}
    rows = (
        ServiceChange.objects.filter(
            provider__in={provider for _, provider in agreed},
            change__in=("url", "acknowledged"),
        )
        .order_by("provider", "serving", "change", "-block", "-sequence", "-pk")
        .distinct("provider", "serving", "change")
    )
    newest = {(row.serving, row.provider, row.change): row for row in rows}
    found = {}
    for key, created in agreed.items():
        url, consent = newest.get((*key, "url")), newest.get((*key, "acknowledged"))
        # Of one before our first block (`ledger.opening`) there is no row.
        block, sequence = (consent.block, consent.sequence) if consent else (created, 0)
        if url and (url.block, url.sequence) > (block, sequence):
            found[key] = url, block
    return found


# --- accounts -----------------------------------------------------------------------------------


def account(address: str) -> Account:
    """Main account and live sub-accounts of an address, of one moment (3 queries): what a block
    moves between them is in one of them. An unknown address owns nothing.
    """
    with one_moment(Ledger):
        known = contracts()
        ledger = Ledger.current.filter(user=address, exists=True).first()
        rows = SubAccount.current.filter(user=address, live=True).order_by("serving", "provider")
        positions = tuple(Position.of(row, known) for row in rows)
    return Account(address, Purse.of(ledger) if ledger else None, positions)


def position(user: str, provider: str, serving: str) -> Position | None:
    """One live sub-account, or None (2 queries)."""
    row = SubAccount.current.filter(
        user=user, provider=provider, serving=serving, live=True
    ).first()
    return Position.of(row, contracts()) if row else None


def changed_since(
    block: int, users: Collection[str], providers: Collection[str]
) -> tuple[set[str], set[str]]:
    """Those of these users and providers whose rows changed after a block, as the follower's
    messages name them (3 queries).
    """
    mine, theirs = list(users), list(providers)
    changed: set[str] = set()
    serving: set[str] = set()
    accounts = SubAccount.objects.filter(block__gt=block)
    accounts = accounts.filter(Q(user__in=mine) | Q(provider__in=theirs))
    for user, provider in accounts.values_list("user", "provider").distinct():
        changed.add(user)
        serving.add(provider)
    ledgers = Ledger.objects.filter(user__in=mine, block__gt=block)
    services = Service.objects.filter(provider__in=theirs, block__gt=block)
    changed.update(ledgers.values_list("user", flat=True))
    serving.update(services.values_list("provider", flat=True))
    return changed.intersection(mine), serving.intersection(theirs)


def listed_since(block: int, most: int) -> list[str]:
    """Providers whose services changed after a block, `most` of them (1 query)."""
    changed = Service.objects.filter(block__gt=block).order_by("provider")
    return list(changed.values_list("provider", flat=True).distinct()[:most])


# --- helpers ------------------------------------------------------------------------------------


def newest_first(rows: QuerySet[Table]) -> QuerySet[Table]:
    """Chain order turned round; `sequence` orders the rows of a block."""
    return rows.order_by("-block", "-sequence", "-pk")


def history(
    rows: QuerySet[Table],
    page: int,
    page_size: int,
    after: Place | None,
    convert: Callable[[Table], Item],
    count: int | None = None,
) -> Page[Item]:
    """One page of a history, newest first: by its number, or the rows after a place, which costs
    the same however long the list is (2 queries; 1 where `count` is given)."""
    size = min(max(1, page_size), MAX_PAGE_SIZE)
    number = min(max(1, page), MAX_PAGE) if after is None else 1
    count = rows.count() if count is None else count
    start = (number - 1) * size
    ordered = older(newest_first(rows), after)
    # One more than is shown says whether the list goes on.
    found = list(ordered[start : start + size + 1]) if start < count else []
    cursor = str(Place.of(found[size - 1])) if len(found) > size else ""
    return Page(tuple(map(convert, found[:size])), count, number, size, cursor)


def paginate(
    rows: QuerySet[Any, Row],
    page: int,
    page_size: int,
    convert: Callable[[Row], Item],
    count: int | None = None,
) -> Page[Item]:
    """One page of a queryset (2 queries; 1 where `count`, the length of all, is given).
    Out-of-range numbers are clamped to what the database can answer.
    """
    size = min(max(1, page_size), MAX_PAGE_SIZE)
    number = min(max(1, page), MAX_PAGE)
    start = (number - 1) * size
    count = rows.count() if count is None else count
    shown: Iterable[Any] = rows[start : start + size] if start < count else ()
    return Page(tuple(convert(row) for row in shown), count, number, size)
