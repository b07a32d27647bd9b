"""The one record of what staff do: appended here by every area, proved whole here.

from moderation import audit
audit.record(request.user, "role_given", ("user", address), area="admin",
             reason="…", before={"roles": []}, after={"roles": ["auditor"]}, request=request)
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import secrets
from collections.abc import Iterator, Mapping
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone

from accounts import limits, roles
from accounts.models import User
from moderation import entries
from moderation.entries import Entry
from moderation.models import PUBLIC_TEXT, REASON, Act
from moderation.subjects import MAX_KEY, Subject
from net import locks

#: One writer at a time appends: "0GACTS".
LOCK = 0x3047_4143_5453
_BATCH = 1_000


def lock() -> None:
    """Nobody else appends, nor decides about what was read, before the transaction ends."""
    locks.in_turn(LOCK)


def record(
    actor: User | AnonymousUser | str,
    action: str,
    subject: Subject | tuple[str, str],
    *,
    area: str,
    reason: str = "",
    before: Any = None,
    after: Any = None,
    public: bool = False,
    public_text: str = "",
    until: dt.datetime | None = None,
    data: Mapping[str, Any] | None = None,
    request: HttpRequest | None = None,
    now: dt.datetime | None = None,
) -> Act:
    """Append one act to the chain, in the caller's transaction where there is one.

    `actor`: a user, or a name for what no user did ("manage.py"). `before` and `after`: plain JSON
    of whole numbers and texts (amounts and floats as text), never secrets. Nothing of an act is
    shown in the public log unless `public`; `reason`, `before`, `after` never are. Raises
    ValueError for values without a canonical form.
    """
    about = subject if isinstance(subject, Subject) else Subject(*subject)
    with transaction.atomic():
        lock()
        last = Act.objects.order_by("-number").only("number", "hash").first()
        act = Act(
            number=last.number + 1 if last else 1,
            at=now or timezone.now(),
            area=area[:20],
            actor=name_of(actor),
            role=_roles(actor),
            action=action[:40],
            subject_kind=about.kind[:40],
            subject=_kept(about.key)[:MAX_KEY],
            public=public,
            public_text=_text(public_text, PUBLIC_TEXT),
            until=until,
            data=_json(dict(data or {})),
            reason=_text(reason, REASON),
            before=_json(before),
            after=_json(after),
            address=address_tag(limits.address(request)) if request is not None else "",
            request_id=str(getattr(request, "request_id", ""))[:64],
            salt=secrets.token_hex(16),
            previous=last.hash if last else entries.START,
        )
        fields = act.fields
        opened, _ = entries.parts(fields, public=public)
        sealed = entries.sealed(fields, public=public)
        act.hash = entries.link(opened, sealed, act.previous)
        act.save(force_insert=True)
    return act


def name_of(actor: User | AnonymousUser | str) -> str:
    """Who did it, as the chain spells it."""
    return (actor if isinstance(actor, str) else actor.get_username())[:150]


def _roles(actor: User | AnonymousUser | str) -> str:
    """The roles held at the time; an act of the machine's own shell has none."""
    return "" if isinstance(actor, str) else ",".join(sorted(roles.of(actor)))[:60]


def _text(text: str, length: int) -> str:
    """What the database can hold and UTF-8 can spell."""
    return _kept(text).replace("\r\n", "\n").strip()[:length]


def _kept(text: str) -> str:
    """As it is otherwise: a model's name may end in blanks, and is then another model's."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode()


def _json(value: Any) -> str:
    return entries.canonical(value).decode()


def address_tag(address: str) -> str:
    """A keyed hash of a network address: tells whether two acts came from one place, and nothing
    else. The address itself is never stored."""
    key = hashlib.sha256(f"moderation.address:{settings.SECRET_KEY}".encode()).digest()
    return hmac.new(key, address.encode(), hashlib.sha256).hexdigest()[:16]


def rows(after: int = 0) -> Iterator[Entry]:
    """Every entry above a number, made from the rows as they are now (1 query per thousand)."""
    while True:
        batch = list(Act.objects.filter(number__gt=after).order_by("number")[:_BATCH])
        yield from (act.entry for act in batch)
        if len(batch) < _BATCH:
            return
        after = batch[-1].number


def head() -> tuple[int, str]:
    """Number and hash of the last act; (0, START) before the first (1 query)."""
    last = Act.objects.order_by("-number").values_list("number", "hash").first()
    return last or (0, entries.START)


def verify() -> tuple[int, str]:
    """Prove the stored chain whole: (number of acts, last hash). Raises entries.Broken."""
    return entries.verify(rows())
