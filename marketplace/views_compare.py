"""`/compare?s=…&s=…`: a page that can be shared, since its URL says all of it."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from ledger.records import Listing
from marketplace import compare as sides
from marketplace.filters import Filters
from marketplace.parts import Link
from marketplace.views_watch import listing_named

#: Of names a URL may hold; what is beyond is not even read.
MOST_NAMED = 12


@require_safe
def compare(request: HttpRequest) -> HttpResponse:
    asked = list(dict.fromkeys(request.GET.getlist("s")[:MOST_NAMED]))
    filters = Filters.parse(request.GET.dict())
    only = request.GET.get("only") == "differences"
    kept: dict[str, Listing] = {}
    unknown = []
    for id in asked[: sides.MOST]:
        listing = listing_named(id)
        if listing is None:
            unknown.append(sides.named(id))
        else:
            kept.setdefault(id, listing)
    found = sides.gather(tuple(kept.values()), filters.workload)

    def said(ids: Iterable[str], differences: bool) -> list[tuple[str, str]]:
        return [*(("s", id) for id in ids), *([("only", "differences")] if differences else [])]

    def path(ids: list[str], differences: bool) -> str:
        asked = [*said(ids, differences), *filters.workload_given.items()]
        return f"/compare?{urlencode(asked)}"

    every = sides.sections(found, filters.workload) if len(found) > 1 else ()
    page = sides.ComparePage(
        services=tuple(one.row for one in found),
        sections=sides.only_differences(every) if only else every,
        without=tuple(path([other for other in kept if other != id], only) for id in kept),
        unknown=tuple(unknown),
        dropped=max(0, len(asked) - sides.MOST),
        views=(
            Link(_("All rows"), path(list(kept), False), not only),
            Link(_("Only differences"), path(list(kept), True), only),
        ),
        only=only,
        filters=filters,
        kept=tuple(said(kept, only)),
    )
    return render(request, "marketplace/compare.html", {"page": page})
