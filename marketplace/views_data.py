"""`/data`: the dumps that are kept, and their files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from django.core.handlers.asgi import ASGIRequest
from django.http import FileResponse, Http404, HttpRequest, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from accounts import limits
from marketplace import dumps

PIECE = 256 * 1024
#: Files of one network address in a minute.
PER_MINUTE = 60
TYPES = {".gz": "application/gzip", ".json": "application/json"}


@dataclass(frozen=True)
class DataPage:
    """`on`: this site makes dumps, though there may be none yet."""

    on: bool
    newest: dumps.Dump | None
    older: tuple[dumps.Dump, ...]
    schema: str = dumps.SCHEMA
    sums: str = dumps.SUMS
    kept: int = dumps.KEPT


@require_safe
def page(request: HttpRequest) -> HttpResponseBase:
    kept = dumps.found()
    shown = DataPage(dumps.folder() is not None, kept[0] if kept else None, kept[1:])
    return render(request, "marketplace/data.html", {"page": shown})


@require_safe
def file(request: HttpRequest, day: str, name: str) -> HttpResponseBase:
    """A file of a dump, under the name that SHA256SUMS calls it by. It is made once, and
    kept elsewhere for an hour at most: what a dump should not show is soon gone with it."""
    limits.spend("data", limits.address(request), limit=PER_MINUTE, seconds=60)
    path = dumps.path_of(day, name)
    if path is None:
        raise Http404(_("There is no such file. Dumps are kept for a week."))
    response: HttpResponseBase
    if isinstance(request, ASGIRequest):
        response = StreamingHttpResponse(_pieces(path))
        response["Content-Length"] = str(path.stat().st_size)
        response["Content-Disposition"] = f'attachment; filename="{name}"'
    else:
        response = FileResponse(path.open("rb"), as_attachment=True, filename=name)
    response["Content-Type"] = TYPES.get(path.suffix, "text/plain; charset=utf-8")
    response["Cache-Control"] = "public, max-age=3600"
    return response


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    """The file in pieces: a slow reader holds one of them in memory, and no thread."""
    with await asyncio.to_thread(path.open, "rb") as opened:
        while piece := await asyncio.to_thread(opened.read, PIECE):
            yield piece
