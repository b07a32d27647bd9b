"""Files that hold hashes and signatures without the bytes: a transcript's JSON, the archive of
pictures (with their bytes) or a JSON of it, and the relay's `/v1/verifications/{id}`. Judged as the
chat judges; not kept.
"""

from __future__ import annotations

import hashlib
import io
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from django.utils.translation import gettext as _

from inference import answers
from inference.answers import FILE, MAX_ANSWERS, Body, Checked, Known, Unusable
from net import strictjson
from net.errors import BadAnswer

#: One hash, or one for each picture with commas between, as they are signed.
_HASHES = re.compile(r"[0-9a-f]{64}(?:,[0-9a-f]{64}){0,9}")
#: What one request's facts are called in an archive (`inference.media.archive`).
_FACTS = re.compile(r"[0-9a-f]{8}\.json")
MAX_MEMBERS = 5_000
#: What an archive's members may become when they are read.
MAX_UNPACKED = 64 << 20
_BROKEN = (
    *(zipfile.BadZipFile, zlib.error, struct.error, NotImplementedError, RuntimeError),
    *(EOFError, OSError, ValueError),
)


def judge(data: bytes) -> tuple[Checked | None, ...]:
    """Every request of such a file, by its hashes and the signer that the chain names now; None for
    one of which nothing can be said. Raises Unusable.
    """
    try:
        given = strictjson.loads(data, FILE)
    except BadAnswer as error:
        raise Unusable(_("This file cannot be read: %(error)s.") % {"error": error}) from None
    requests = requests_of(given)
    if len(requests) > MAX_ANSWERS:
        raise Unusable(
            _("A file of more than %(max_answers)s requests.") % {"max_answers": f"{MAX_ANSWERS:,}"}
        )
    known = Known()
    return answers.some(
        [_judged(request, known, pictures="files" in given) for request in requests]
    )


def is_archive(data: bytes) -> bool:
    """Whether bytes are an archive of pictures that was made here, by the names in it."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return any(_FACTS.fullmatch(name) for name in archive.namelist())
    except _BROKEN:
        return False


def archive(data: bytes) -> tuple[Checked | None, ...]:
    """Every request of an archive of pictures, as of a file. A picture that is in it counts by its
    own bytes, whatever the archive says its hash is. Raises Unusable.
    """
    found: list[Checked | None] = []
    known = Known()
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as opened:
            members = _Members(opened)
            for name in filter(_FACTS.fullmatch, members.names):
                given = strictjson.loads(members.read(name), FILE)
                requests = requests_of(given)
                if len(found) + len(requests) > MAX_ANSWERS:  # before any of them is judged
                    raise Unusable(
                        _("An archive of more than %(max_answers)s requests.")
                        % {"max_answers": f"{MAX_ANSWERS:,}"}
                    )
                found += _of_archive(given, requests, members, known) if requests else ()
    except Unusable:
        raise
    except BadAnswer as error:
        raise Unusable(
            _("A file in this archive cannot be read: %(error)s.") % {"error": error}
        ) from None
    except _BROKEN:
        raise Unusable(_("This archive is damaged, or no archive of pictures from here.")) from None
    return answers.some(found)


def _of_archive(
    given: Mapping[str, Any], requests: list[Mapping[str, Any]], members: _Members, known: Known
) -> list[Checked | None]:
    """The requests of one file of facts, by the bytes of the pictures that it names."""
    really: dict[str, str] = {}
    files = given.get("files")
    for file in files if isinstance(files, list) else ():
        name = file.get("name") if isinstance(file, dict) else None
        if isinstance(name, str) and name in members.names:
            # Of several that state one hash, one that has another counts: none is passed over.
            stated = str(file.get("sha256"))
            if really.get(stated, stated) == stated:
                really[stated] = members.sha256(name)
    found: list[Checked | None] = []
    for request in requests:
        said = _hash(request.get("response_sha256")).split(",")
        now = ",".join(really.get(one, one) for one in said)
        one = _judged({**request, "response_sha256": now}, known, pictures=True)
        held = all(x in really for x in said)
        found.append(one and replace(one, bytes_held=held))
    return found


class _Members:
    """The files of an archive, read within bounds, however small they were packed."""

    def __init__(self, opened: zipfile.ZipFile) -> None:
        infos = opened.infolist()
        if len(infos) > MAX_MEMBERS:
            raise Unusable(
                _("An archive of more than %(max_members)s files.")
                % {"max_members": f"{MAX_MEMBERS:,}"}
            )
        self.names = dict.fromkeys(info.filename for info in infos)
        self._opened = opened
        self._room = MAX_UNPACKED
        self._hashes: dict[str, str] = {}

    def read(self, name: str) -> bytes:
        with self._opened.open(name) as stream:
            data = stream.read(self._room + 1)
        self._room -= len(data)
        if self._room < 0:
            raise Unusable(
                _("An archive whose files become more than %(max_unpacked)s MB.")
                % {"max_unpacked": MAX_UNPACKED >> 20}
            )
        return data

    def sha256(self, name: str) -> str:
        """Of a file that may be named any number of times."""
        if name not in self._hashes:
            self._hashes[name] = hashlib.sha256(self.read(name)).hexdigest()
        return self._hashes[name]


def requests_of(given: object) -> list[Mapping[str, Any]]:
    """The requests of a parsed file; none where it is no such file."""
    if not isinstance(given, dict):
        return []
    rows = [given] if given.get("object") == "verification" else given.get("requests")
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _judged(given: Mapping[str, Any], known: Known, *, pictures: bool) -> Checked | None:
    drawn = pictures or str(given.get("endpoint", "")).startswith("images/")
    request, response = (Body(sha256=_hash(given.get(x))) for x in _MEMBERS)
    return answers.entry(given, request, response, known, pictures=drawn)


_MEMBERS = ("request_sha256", "response_sha256")


def _hash(value: object) -> str:
    return value if isinstance(value, str) and _HASHES.fullmatch(value) else ""
