"""What the API's doors share: the list envelope, revalidation by the indexed block, the problems
they document.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, TypeVar

from django.conf import settings
from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import F, QuerySet, Subquery
from django.db.models.expressions import RawSQL
from django.db.models.functions import JSONObject
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.cache import get_conditional_response
from django.utils.http import http_date

from attestation import selectors as attestation
from chain.models import Head
from ledger import listed, tags
from ledger import selectors as ledger
from ledger.models import Projection
from ledger.records import Listing, Page
from marketplace import names, problems, schemas
from operators import notes
from probes import selectors as probes

Item = TypeVar("Item")

#: Bump when an answer's shape changes: cached answers of the old shape then no longer revalidate.
SHAPE = "3"

#: `response=` of a read: its shape, and the problems a client must expect.
PROBLEMS: dict[int, Any] = {422: schemas.Problem, 429: schemas.Problem, 503: schemas.Problem}
PROBLEMS_404: dict[int, Any] = {404: schemas.Problem, **PROBLEMS}


def sends(media: str, description: str, **schema: str) -> dict[str, Any]:
    """`openapi_extra=` of a read that answers with a file of this type."""
    content = {media: {"schema": {"type": "string", **schema}}}
    return {"responses": {200: {"description": description, "content": content}}}


#: The complete twin of a list (`accounts.csv_files`).
CSV = sends("text/csv", "CSV with a header line")


def envelope(
    request: HttpRequest, page: Page[Item], convert: Callable[[Item], dict[str, Any]]
) -> dict[str, Any]:
    """A page as `{"count", "items", "next"}`; `next` repeats the caller's own filters."""
    return {
        "count": page.count,
        "items": [convert(item) for item in page.items],
        "next": _next(request, page),
    }


def _next(request: HttpRequest, page: Page[Item]) -> str | None:
    """The address of the next page: by cursor in a history, else by number."""
    query = request.GET.copy()
    if page.cursor:
        query.pop("page", None)
        query["cursor"] = page.cursor
    elif page.cursor is None and page.next_number is not None:
        query["page"] = str(page.next_number)
    else:
        return None
    return request.build_absolute_uri(f"{request.path}?{query.urlencode()}")


Operation = Callable[..., HttpResponse]


#: Selects one value that changes whenever what an app says changes.
State = Callable[[tags.Moment], QuerySet[Any, Any]]


def _revalidated_by(*states: State) -> Callable[[Operation], Operation]:
    """A read whose ETag names the index's state and `states`, so that an unchanged answer costs 1
    query.

    The state is read before the rows. If anything moves in between, the answer is newer than its
    tag says and the next revalidation fetches it again: never the other way round.
    `Last-Modified` is the indexed block's time and only for people; several blocks may share a
    second, so it is not compared.
    """

    def decorate(operation: Operation) -> Operation:
        @wraps(operation)
        def door(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            tag, modified = _state(request, states)
            cached = get_conditional_response(request, etag=tag) if tag else None
            response = cached if cached is not None else operation(request, *args, **kwargs)
            if tag and response.status_code in (200, 304):
                response["ETag"] = tag
                response["Last-Modified"] = http_date(modified)
                response["Cache-Control"] = "no-cache"
            return response

        return door

    return decorate


#: A read of ledger rows only.
revalidated = _revalidated_by()
#: A read that also shows verdicts on evidence.
revalidated_with_verdicts = _revalidated_by(attestation.state_within)
#: A read that shows what providers announced.
revalidated_with_notes = _revalidated_by(notes.state_within)
#: The feed of changes: verdicts that turned, and notes.
revalidated_as_feed = _revalidated_by(attestation.state_within, notes.state_within)
#: A provider with its services and notes.
revalidated_as_provider = _revalidated_by(
    attestation.state_within, probes.state_within, notes.state_within
)
#: A list with verdicts and measurements, in which providers are found by their names.
revalidated_as_list = _revalidated_by(
    attestation.state_within, probes.state_within, names.state_within
)
#: A read that shows verdicts and what our probes measured.
revalidated_with_health = _revalidated_by(attestation.state_within, probes.state_within)


def _state(request: HttpRequest, states: tuple[State, ...]) -> tuple[str, int]:
    """The ETag of an answer at the index's present state, and that block's time; empty before the
    first block (1 query).
    """
    using = Head.objects.all().db
    found = tags.first(_said, using, timezone.now(), settings.CHAIN_ID, states)
    if found is None:
        return "", 0
    modified, *said = found
    text = "|".join(
        str(part) for part in (SHAPE, request.get_host(), request.get_full_path(), *said)
    )
    return f'W/"{hashlib.sha256(text.encode()).hexdigest()[:24]}"', modified


_FOLD = ("name", "version", "final_block", "pending_block")


def _said(chain_id: int, states: Iterable[State]) -> QuerySet[Head, Any]:
    fold = JSONObject(**{name: F(name) for name in _FOLD})
    return Head.objects.filter(chain_id=chain_id, indexed_block__gte=0).values_list(
        "indexed_timestamp",
        "indexed_block",
        "indexed_hash",
        ArraySubquery(Projection.objects.order_by("name").values(fold=fold)),
        # No block marks what lists leave out (`ledger.listed`).
        RawSQL(*listed.version(tags.NOW)),
        *(Subquery(state(tags.NOW)) for state in states),
    )


def listing_or_404(
    kind: str, provider: str, service_name: str, *, include_removed: bool = True
) -> Listing:
    """The service that the three name (2 queries)."""
    found = ledger.service(kind, provider, service_name, include_removed=include_removed)
    return known_or_404("This service", found)


def known_or_404(what: str, value: Item | None) -> Item:
    if value is None:
        raise problems.not_found(what)
    return value
