"""`/compare?s=…&s=…`: a page that can be shared, since its URL says all of it."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from accounts.pages_transaction import Link
from marketplace import compare as sides
from marketplace import pages
from marketplace.filters import Filters
from marketplace.twins import twinned

#: Of names a URL may hold; what is beyond is not even read.
MOST_NAMED = 12
API = "/api/v1/compare"


@require_safe
@twinned(json=API, csv=f"{API}.csv")
def compare(request: HttpRequest) -> HttpResponse:
    asked = list(dict.fromkeys(request.GET.getlist("s")[:MOST_NAMED]))
    filters = Filters.parse(request.GET.dict())
    only = request.GET.get("only") == "differences"
    kept, unknown = sides.named(asked)
    found = sides.gather(tuple(kept.values()), filters.workload)

    def said(ids: Iterable[str], differences: bool) -> list[tuple[str, str]]:
        return [*(("s", id) for id in ids), *([("only", "differences")] if differences else [])]

    def path(ids: Iterable[str], differences: bool, at: str = "/compare") -> str:
        asked = [*said(ids, differences), *filters.workload_given.items()]
        return f"{at}?{urlencode(asked)}"

    every = sides.sections(found, filters.workload) if len(found) > 1 else ()
    said_by_some, unsaid = sides.without_unsaid(every)
    page = sides.ComparePage(
        services=tuple(one.row for one in found),
        tries=tuple(pages.try_of(one.row.listing) for one in found),
        sections=sides.only_differences(every) if only else said_by_some,
        unsaid=() if only else unsaid,
        without=tuple(path([other for other in kept if other != id], only) for id in kept),
        unknown=unknown,
        dropped=max(0, len(asked) - sides.MOST),
        views=(
            Link(_("All rows"), path(kept, False), not only),
            Link(_("Only differences"), path(kept, True), only),
        ),
        only=only,
        filters=filters,
        kept=tuple(said(kept, only)),
        twins=(Link("JSON", path(kept, only, API)), Link("CSV", path(kept, only, f"{API}.csv"))),
    )
    return render(request, "marketplace/compare.html", {"page": page})
