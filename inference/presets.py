"""Settings that a person saved under a name: system prompt and parameters, to be used again, and
the question itself where it is asked again and again, with `{{names}}` for what differs.

They are the person's words, so they are kept like conversations: encrypted, for their owner alone.
Saved again, one keeps what it said before (`PresetVersion`): the newest is used, an earlier one can
be taken up again, which appends it once more.
A preset does not say whether only verified providers are asked: no accident may change that wish.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import orjson
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import crypto
from accounts.models import User
from inference.errors import BadPrompt
from inference.models import OwnPreset, PresetVersion
from inference.options import Options
from net import strictjson
from net.errors import BadAnswer
from net.limits import JsonLimits

MOST = 40
#: Earlier texts of one preset; the oldest goes for the newest.
MOST_VERSIONS = 20
MAX_NAME_CHARS = 40
MAX_BODY_CHARS = 8_000
#: Of a file with presets; each of MOST may have a long system prompt, schema, list of functions and
#: question, of up to four bytes a character.
MAX_FILE_BYTES = 8 << 20
_FILE = JsonLimits(max_depth=6, max_bytes=MAX_FILE_BYTES)
#: A deleted preset can be brought back for so long.
UNDO_FOR = timedelta(seconds=60)


@dataclass(frozen=True)
class Own:
    """One preset, readable. `body`: its question, "" where it has none; what its `{{names}}` stand
    for is filled in by the page (`chat-fill.js`), so that it leaves the browser with the question.
    """

    id: int
    name: str
    options: Options
    body: str = ""


@dataclass(frozen=True)
class Version:
    """What a preset said `until` then."""

    id: int
    until: datetime
    own: Own

    @property
    def settings(self) -> str:
        """Its parameters by the protocol's names, one a line; "" where all are the usual ones."""
        usual = Options().stored()
        named = self.own.options.stored()
        del named["system"]
        changed = {name: value for name, value in named.items() if value != usual[name]}
        return "\n".join(f"{name}: {orjson.dumps(v).decode()}" for name, v in changed.items())


def of(user: User | None) -> tuple[Own, ...]:
    """A person's presets by name (1 query); what cannot be read any more is left out."""
    if user is None:
        return ()
    rows = OwnPreset.objects.filter(owner=user, deleted_at=None)[:MOST]
    found = [own for own in map(_own, rows) if own is not None]
    return tuple(sorted(found, key=lambda own: own.name.casefold()))


def get(user: User | None, preset: int) -> Own | None:
    return next((own for own in of(user) if own.id == preset), None)


def save(user: User, name: str, given: Mapping[str, Any], preset: int | None = None) -> Own:
    """Keep settings under a name: in place of `preset`, else of the one with that name, else as a
    new one. `body` is the question; not given, one that is replaced keeps its own. Raises BadPrompt
    with the rule that was broken.
    """
    name = _tidy(name)
    if not name or len(name) > MAX_NAME_CHARS:
        raise BadPrompt(
            _("A preset's name has 1 to %(max_name_chars)s characters.")
            % {"max_name_chars": MAX_NAME_CHARS}
        )
    options = replace(Options.of(given), verified=False)
    body = _body(given.get("body"))
    with transaction.atomic():
        User.objects.select_for_update().get(pk=user.pk)  # one at a time, so that names are unique
        known = of(user)
        same = next((own.id for own in known if own.name.casefold() == name.casefold()), None)
        if preset is not None and same not in (None, preset):
            raise _taken(name)
        pk = preset if preset is not None else same
        if body is None:
            body = next((own.body for own in known if own.id == pk), "")
        document = {"name": name, "options": options.stored(), "body": body}
        sealed = crypto.seal(orjson.dumps(document).decode())
        if pk is None:
            if len(known) >= MOST:
                raise _full()
            pk = OwnPreset.objects.create(owner=user, sealed=sealed).pk
        else:
            before = OwnPreset.objects.filter(pk=pk, owner=user, deleted_at=None).first()
            if before is None:
                raise BadPrompt(_("This preset is not there any more."))
            made = Own(pk, name, options, body)
            if _own(before) != made:
                OwnPreset.objects.filter(pk=pk).update(sealed=sealed)
                _append(before)
    return Own(pk, name, options, body)


def _append(before: OwnPreset) -> None:
    """Keep what a preset said until now; what no key opens any more is no text to go back to."""
    if _own(before) is None:
        return
    before.versions.create(sealed=before.sealed, until=timezone.now())
    newest = before.versions.order_by("-pk").values_list("pk", flat=True)[:MOST_VERSIONS]
    before.versions.exclude(pk__in=list(newest)).delete()


def with_versions(user: User) -> frozenset[int]:
    """The presets that said something else before (1 query)."""
    return frozenset(_versions(user).order_by().values_list("preset", flat=True).distinct())


def versions(user: User, preset: int) -> tuple[Version, ...]:
    """Earlier texts of a preset, the newest first (1 query)."""
    rows = _versions(user).filter(preset=preset)
    return tuple(version for version in map(_version, rows) if version is not None)


def _versions(user: User) -> QuerySet[PresetVersion]:
    rows = PresetVersion.objects.filter(preset__owner=user, preset__deleted_at=None)
    return rows.order_by("-pk")


def _version(row: PresetVersion) -> Version | None:
    own = _opened(row.preset_id, row.sealed)
    return None if own is None else Version(row.pk, row.until, own)


def restore(user: User, preset: int, version: int) -> bool:
    """Save an earlier text once more, as the newest; whether it is there. Raises BadPrompt where
    its name is another preset's by now."""
    own = next((one.own for one in versions(user, preset) if one.id == version), None)
    if own is None:
        return False
    save(user, own.name, {**own.options.stored(), "body": own.body}, preset)
    return True


def _body(given: object) -> str | None:
    if given is None:
        return None
    body = given.replace("\r\n", "\n").strip() if isinstance(given, str) else ""
    if len(body) > MAX_BODY_CHARS:
        raise BadPrompt(
            _("A preset's question has up to %(most)s characters.")
            % {"most": f"{MAX_BODY_CHARS:,}"}
        )
    return body.replace("\x00", "\ufffd")


def document(user: User, preset: int | None = None) -> bytes:
    """A person's presets, or one of them, as a file that `take_in` reads."""
    found = [own for own in of(user) if preset is None or own.id == preset]
    rows = [{"name": own.name, "options": own.options.stored(), "body": own.body} for own in found]
    return orjson.dumps({"presets": rows}, option=orjson.OPT_INDENT_2)


def earlier(user: User) -> bytes:
    """Every earlier text, for the person's own archive (2 queries)."""
    found: dict[int, list[Version]] = {}
    for version in map(_version, _versions(user)):
        if version is not None:
            found.setdefault(version.own.id, []).append(version)
    rows = [
        {
            "preset": own.name,
            "until": version.until.isoformat(),
            "name": version.own.name,
            "options": version.own.options.stored(),
            "body": version.own.body,
        }
        for own in of(user)
        for version in found.get(own.id, ())
    ]
    return orjson.dumps({"versions": rows}, option=orjson.OPT_INDENT_2)


def take_in(user: User, data: bytes) -> int:
    """Keep the presets of such a file, whoever made it; one whose name is taken gets another. How
    many. Raises BadPrompt, and then keeps none.
    """
    wrong = BadPrompt(_("This is no file of presets."))
    try:
        given = strictjson.loads(data, _FILE)
    except BadAnswer:
        raise wrong from None
    rows = given.get("presets") if isinstance(given, dict) else None
    if not isinstance(rows, list) or not 0 < len(rows) <= MOST:
        raise wrong
    with transaction.atomic():
        User.objects.select_for_update().get(pk=user.pk)  # as `save`
        taken = {own.name.casefold() for own in of(user)}
        for row in rows:
            options = row.get("options") if isinstance(row, dict) else None
            name = row.get("name") if isinstance(row, dict) else None
            if not isinstance(options, dict) or not isinstance(name, str):
                raise wrong
            own = save(user, _free(name, taken), {**options, "body": row.get("body", "")})
            taken.add(own.name.casefold())
    return len(rows)


def _tidy(name: str) -> str:
    return " ".join(name.replace("\x00", "").split())


def _free(name: str, taken: set[str]) -> str:
    """The name, or where it is taken the same with a number."""
    name, tried = _tidy(name), 1
    found = name
    while found.casefold() in taken:
        tried += 1
        end = f" {tried}"
        found = name[: MAX_NAME_CHARS - len(end)].rstrip() + end
    return found


def delete(user: User, preset: int) -> bool:
    """Take a preset away; `bring_back` undoes it for UNDO_FOR."""
    rows = OwnPreset.objects.filter(pk=preset, owner=user, deleted_at=None)
    return bool(rows.update(deleted_at=timezone.now()))


def comes_back(user: User, preset: int) -> bool:
    """Whether it was deleted a moment ago, so that it can be brought back."""
    since = timezone.now() - UNDO_FOR
    return OwnPreset.objects.filter(pk=preset, owner=user, deleted_at__gt=since).exists()


def bring_back(user: User, preset: int) -> bool:
    """Whether it is there (again). Raises BadPrompt where its name or its room was taken."""
    with transaction.atomic():
        User.objects.select_for_update().get(pk=user.pk)  # as `save`
        row = OwnPreset.objects.filter(pk=preset, owner=user).first()
        if row is None or row.deleted_at is None:
            return row is not None
        if not comes_back(user, preset):
            return False
        known, own = of(user), _own(row)
        if len(known) >= MOST:
            raise _full()
        if own is not None and own.name.casefold() in {x.name.casefold() for x in known}:
            raise _taken(own.name)
        return bool(OwnPreset.objects.filter(pk=preset).update(deleted_at=None))


def _full() -> BadPrompt:
    return BadPrompt(_("You have %(most)s presets. Delete one first.") % {"most": MOST})


def _taken(name: str) -> BadPrompt:
    return BadPrompt(_("You have another preset called “%(name)s”.") % {"name": name})


def purge() -> int:
    """Delete for good what was deleted a while ago; held meanwhile, so that what is brought back at
    the last second stays, or is too late."""
    with transaction.atomic():
        rows = OwnPreset.objects.filter(deleted_at__lt=timezone.now() - UNDO_FOR)
        gone = [row.pk for row in rows.select_for_update().only("pk")]
        return int(OwnPreset.objects.filter(pk__in=gone).delete()[0])


def _own(row: OwnPreset) -> Own | None:
    return _opened(row.pk, row.sealed)


def _opened(preset: int, sealed: str) -> Own | None:
    try:
        document = orjson.loads(crypto.unseal(sealed))
        body = str(document.get("body", ""))  # older ones have none
        return Own(preset, str(document["name"]), Options.of(document["options"]), body)
    except (crypto.Unreadable, ValueError, KeyError, BadPrompt):
        return None
