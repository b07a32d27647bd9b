"""Pictures in questions: read, bared of everything but their pixels, kept with the conversation's
key, sent as part of the question to models that look at pictures.

They are stored as they are sent (one JPEG or PNG), so that the file a person sees is the one whose
bytes are in the signed request.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from django.db import models, transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from PIL import Image

from accounts.models import User
from inference import seals, wire
from inference.errors import BadPrompt
from inference.media import quota, uploads
from inference.media.models import File, Role
from inference.media.uploads import Picture
from inference.models import Chat, Turn
from inference.prompts import MAX_PICTURES

MOST = MAX_PICTURES
LONGEST_SIDE = 1536
MAX_BYTES = 1 << 20
#: A picture that was chosen and never sent goes after so long.
UNSENT_FOR = timedelta(hours=1)
#: Vision models count patches of 14 to 28 pixels; the finest is the most a picture can cost.
_FINEST_PATCH = 14
_USUAL_PIXELS_PER_TOKEN = 750
_QUALITIES = (88, 75, 60, 40)


def tokens(width: int, height: int) -> int:
    """About how many tokens a picture is."""
    return -(-width * height // _USUAL_PIXELS_PER_TOKEN)


def most_tokens(width: int, height: int) -> int:
    """How many it can be for the models we know of, for "up to"."""
    return (-(-width // _FINEST_PATCH)) * (-(-height // _FINEST_PATCH)) + 16


def prepared(data: bytes, name: str) -> Picture:
    """An uploaded picture as it is sent: upright, at most LONGEST_SIDE, at most MAX_BYTES, without
    its metadata. Raises BadPrompt, naming the file.
    """
    image = uploads.upright(data, name)
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    bare = Image.new("RGB", image.size, (255, 255, 255))
    bare.paste(image, mask=image.getchannel("A"))
    if data.startswith(b"\x89PNG"):  # drawings and screenshots stay sharp where that is small
        encoded = _encoded(bare, "PNG", optimize=True)
        if len(encoded) <= MAX_BYTES // 2:
            return Picture(encoded, "image/png", *bare.size)
    for quality in _QUALITIES:
        encoded = _encoded(bare, "JPEG", quality=quality)
        if len(encoded) <= MAX_BYTES:
            break
    return Picture(encoded, "image/jpeg", *bare.size)


def _encoded(image: Image.Image, kind: str, **how: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **how)
    return out.getvalue()


def keep(chat: Chat, data: bytes, name: str) -> File:
    """Keep an uploaded picture for the next question. Raises BadPrompt."""
    picture = prepared(data, name)
    with transaction.atomic():
        owner = User.objects.select_for_update().get(pk=chat.owner_id)
        quota.require(owner, len(picture.data))
        unsent = File.objects.filter(chat=chat, role=Role.ASKED, turn=None)
        if unsent.count() >= 4 * MOST:
            raise BadPrompt(_("Too many pictures were chosen and not sent. Wait a little."))
        return _stored(chat, None, 0, picture)


def _stored(chat: Chat, turn: Turn | None, number: int, picture: Picture) -> File:
    try:
        return File.keep(chat, turn, Role.ASKED, number, picture)
    except seals.Unreadable:
        raise BadPrompt(_("This conversation has ended. Begin a new one.")) from None


def wanted(
    chat: Chat, ids: Sequence[UUID], again: int | None, had: Sequence[UUID] | None = None
) -> list[File]:
    """The pictures of a new question: those just chosen, and for another version of a question the
    ones it had, or those of them that are in `had`. Raises BadPrompt.
    """
    if not ids and again is None:
        return []
    chosen = {file.pk: file for file in _of(chat).filter(pk__in=ids, turn=None)}
    if len(chosen) != len(set(ids)):
        raise _not_there()
    old = list(_of(chat).filter(turn=again)) if again is not None else []
    found = [
        *(file for file in old if had is None or file.pk in had),
        *(chosen[pk] for pk in dict.fromkeys(ids)),
    ]
    if len(found) > MOST:
        raise BadPrompt(
            _("Up to %(most)s pictures in one question and what goes along with it.")
            % {"most": MOST}
        )
    return found


def _not_there() -> BadPrompt:
    return BadPrompt(_("A picture is not there any more. Choose it again."))


def attach(turn: Turn, files: Sequence[File]) -> None:
    """Make them the question's: unsent ones as they are, another version's as copies, for which
    there must be room; the owner's row is held. Raises BadPrompt, also where one went meanwhile,
    with a question of another device: its row would show none of what it sends."""
    if copied := sum(file.size for file in files if file.turn_id is not None):
        quota.require(turn.chat.owner, copied)
    for number, file in enumerate(files):
        if file.turn_id is None:
            free = File.objects.filter(pk=file.pk, turn=None)
            if not free.update(turn=turn, number=number):
                raise _not_there()
        else:
            same = Picture(file.data, file.media_type, file.width, file.height)
            _stored(turn.chat, turn, number, same)


def of_turns(chat: Chat, turns: Sequence[int]) -> dict[int, list[File]]:
    """The pictures of each turn that has some; their bytes come when asked for (1 query)."""
    found: dict[int, list[File]] = {}
    if not turns:
        return found
    for file in _of(chat).filter(turn__in=turns).defer("sealed"):
        file.chat = chat  # whose key is open already
        found.setdefault(file.turn_id or 0, []).append(file)
    return found


def unsent(chat: Chat, ids: Sequence[UUID]) -> list[File]:
    """Those of `ids` that were kept for a question and not sent, without their bytes."""
    return list(_of(chat).filter(pk__in=ids, turn=None).defer("sealed")) if ids else []


def part(file: File) -> wire.Picture:
    """The picture as models are sent it. Raises seals.Unreadable."""
    url = f"data:{file.media_type};base64,{base64.b64encode(file.data).decode()}"
    return wire.Picture(url, most_tokens(file.width, file.height))


def purge() -> int:
    """Delete pictures that were chosen and never sent."""
    before = timezone.now() - UNSENT_FOR
    rows = File.objects.filter(role=Role.ASKED, turn=None, made_at__lt=before)
    return int(rows.only("pk").delete()[0])


def _of(chat: Chat) -> models.QuerySet[File]:
    rows = File.objects.filter(chat=chat, role=Role.ASKED)
    return rows.select_related("chat").order_by("turn", "number")
