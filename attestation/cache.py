"""Where answers of outside services are kept: `sources.records.Cache` on our tables."""

from __future__ import annotations

from datetime import UTC, datetime

from asgiref.sync import sync_to_async
from django.db import transaction

from attestation.models import Document, Retrieval
from attestation.sources.records import Answer, Source


class StoredAnswers:
    """Every answer is a `Retrieval`; the newest one that is valid is the cache."""

    async def find(self, source: Source, key: str, now: int) -> Answer | None:
        return await sync_to_async(find)(source, key, now)

    async def keep(self, answer: Answer) -> None:
        await sync_to_async(keep)(answer)


def find(source: Source, key: str, now: int) -> Answer | None:
    """The newest answer that may be judged by at `now` (unix seconds). SQL: one query."""
    at = _moment(now)
    row = (
        Retrieval.objects.filter(
            source=source,
            key=key,
            document__isnull=False,
            error="",
            valid_from__lte=at,
            valid_until__gte=at,
        )
        .select_related("document")
        .order_by("-fetched_at", "-pk")
        .first()
    )
    return _answer(source, row) if row is not None else None


@transaction.atomic  # a document by itself would be nobody's, and `prune` delete it
def keep(answer: Answer) -> None:
    """Write one answer down, a failure as well."""
    Retrieval.objects.create(
        source=answer.source,
        key=answer.key,
        url=answer.url,
        fetched_at=_moment(answer.fetched_at),
        http_date=_optional(answer.http_date),
        status=answer.status,
        headers=dict(answer.headers),
        document=None if answer.body is None else Document.keep(answer.body),
        valid_from=_optional(answer.valid_from),
        valid_until=_optional(answer.valid_until),
        error=answer.error.replace("\x00", "\N{REPLACEMENT CHARACTER}"),
    )


def _answer(source: Source, row: Retrieval) -> Answer:
    return Answer(
        source=source,
        key=row.key,
        url=row.url,
        fetched_at=_unix(row.fetched_at),
        status=row.status,
        body=None if row.document is None else bytes(row.document.body),
        headers=row.headers,
        http_date=None if row.http_date is None else _unix(row.http_date),
        valid_from=None if row.valid_from is None else _unix(row.valid_from),
        valid_until=None if row.valid_until is None else _unix(row.valid_until),
        error=row.error,
    )


def _unix(moment: datetime) -> int:
    return int(moment.timestamp())


def _moment(unix: int) -> datetime:
    # NVIDIA's certificates end in the year 9999; what lies beyond a datetime is as good as that.
    return datetime.fromtimestamp(min(max(unix, 0), 253_402_300_799), UTC)


def _optional(unix: int | None) -> datetime | None:
    return None if unix is None else _moment(unix)
