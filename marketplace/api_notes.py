"""`/notes`: maintenance and incidents in their providers' own signed words."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from django.http import HttpRequest
from ninja import Field, Query, Router, Schema
from ninja.decorators import decorate_view

from ledger import selectors
from marketplace import schemas
from marketplace.api_lists import PROBLEMS, envelope, revalidated_with_notes
from marketplace.schemas import EMPTY, Address, AddressIn, Instant, PageIn
from operators import notes
from operators.models import Note

router = Router(tags=["Providers"])


class NoteOut(Schema):
    """What a provider announced. `message` is exactly what its wallet signed (EIP-191), so that
    `signature` can be checked by anybody; `ends_at` null: it does not know yet."""

    id: UUID
    provider: Address
    kind: Literal["maintenance", "incident"]
    text: str
    starts_at: Instant
    ends_at: Instant | None
    signed_at: Instant
    message: str
    signature: str


class NotesIn(PageIn):
    """Filters of the list of notes."""

    provider: Annotated[AddressIn | None, EMPTY] = Field(None, description="only this provider's")


def note_body(note: Note) -> dict[str, Any]:
    return {
        "id": note.pk,
        "provider": note.provider,
        "kind": note.kind,
        "text": note.text,
        "starts_at": note.starts_at,
        "ends_at": note.ends_at,
        "signed_at": note.signed_at,
        "message": note.message,
        "signature": note.signature,
    }


@router.get(
    "",
    response={200: schemas.ListOf[NoteOut], **PROBLEMS},
    operation_id="list_notes",
    summary="Maintenance and incidents that providers announced, newest first",
)
@decorate_view(revalidated_with_notes)
def list_notes(request: HttpRequest, query: Query[NotesIn]) -> dict[str, Any]:
    """Planned, going on and past; what its provider withdrew is left out."""
    rows = notes.told(query.provider or "")
    page = selectors.paginate(rows, query.page, query.page_size, lambda note: note)
    return envelope(request, page, note_body)
