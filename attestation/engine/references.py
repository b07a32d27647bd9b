"""A reference file: published values that measured software is compared with (attestation.md 6.3).

    {"format": "zg-market references 1", "label": "…", "source": "https://…",
     "boots":    [{"label", "source", "mr_td", "rtmr0", "rtmr1", "rtmr2"}],   registers, any of them
     "composes": [{"label", "source", "hash"}],        compose-hash (SHA-256) or tapp's (SHA-384)
     "images":   [{"label", "source", "digest"}],      sha256:…
     "kms_keys": [{"label", "source", "id"}],          as the event key-provider names it
     "cryptopilot": {"load_config": ["…"], "fde_rootfs_hash": ["…"]}}

A list that is left out judges nothing. Whoever judges chooses the file: no report brings one. What
it says is that somebody's word; where the values were published is `source`. Pure: bytes in.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Mapping
from typing import Any

from attestation.engine.limits import JSON
from attestation.engine.policy import DEFAULT, REGISTERS, Boot, Known, Policy, References
from net import strictjson
from net.errors import BadAnswer

FORMAT = "zg-market references 1"
MAX_ENTRIES = 5_000
_TEXT = 300
_REGISTER = re.compile(r"[0-9a-f]{96}")
_HASH = re.compile(r"[0-9a-f]{64}|[0-9a-f]{96}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_KEY = re.compile(r"[0-9a-f]{2,2000}")
_LISTS = ("boots", "composes", "images", "kms_keys")
_MEMBERS = {"format", "label", "source", "cryptopilot", *_LISTS}
_OPERATIONS = {"load_config", "fde_rootfs_hash"}


class BadReferences(ValueError):
    """The reference file is not of the form above."""


def load(body: bytes) -> Policy:
    """Our policy with the values of a file. Raises BadReferences: half a list would mislead."""
    try:
        given: Any = strictjson.loads(body, JSON)
    except BadAnswer as error:
        raise BadReferences(f"references: {error}") from None
    if not isinstance(given, dict) or given.get("format") != FORMAT:
        raise BadReferences(f"references: the format is not {FORMAT!r}")
    unknown = sorted(given.keys() - _MEMBERS)
    if unknown:
        raise BadReferences(f"references: unknown member {unknown[0][:40]!r}")
    about = Known(_text(given, "label"), _text(given, "source"))
    return dataclasses.replace(
        DEFAULT,
        references=References(about, hashlib.sha256(body).hexdigest(), body),
        boots=_boots(given) if "boots" in given else None,
        composes=_known(given, "composes", "hash", _HASH),
        images=_known(given, "images", "digest", _DIGEST),
        kms_keys=_known(given, "kms_keys", "id", _KEY),
        cryptopilot=_cryptopilot(given),
    )


def _boots(given: Mapping[str, Any]) -> tuple[Boot, ...]:
    found = []
    for entry in _entries(given, "boots", {*REGISTERS, "label", "source"}):
        registers = {name: entry[name] for name in REGISTERS if name in entry}
        if not registers:
            raise BadReferences("references: a boot without a register")
        for name, value in registers.items():
            _matched(value, _REGISTER, f"boots: {name}")
        found.append(Boot(_about(entry), registers))
    return tuple(found)


def _known(
    given: Mapping[str, Any], name: str, member: str, form: re.Pattern[str]
) -> dict[str, Known] | None:
    if name not in given:
        return None
    return {
        _matched(entry.get(member), form, f"{name}: {member}"): _about(entry)
        for entry in _entries(given, name, {member, "label", "source"})
    }


def _entries(given: Mapping[str, Any], name: str, members: set[str]) -> list[dict[str, Any]]:
    listed = given[name]
    whole = isinstance(listed, list) and all(isinstance(entry, dict) for entry in listed)
    if not whole or len(listed) > MAX_ENTRIES:
        raise BadReferences(f"references: {name} is no list of at most {MAX_ENTRIES} objects")
    for entry in listed:
        if not entry.keys() <= members:
            raise BadReferences(f"references: {name} has a member that is not known")
    found: list[dict[str, Any]] = listed
    return found


def _about(entry: Mapping[str, Any]) -> Known:
    return Known(_text(entry, "label"), _text(entry, "source", needed=False))


def _text(entry: Mapping[str, Any], name: str, *, needed: bool = True) -> str:
    value = entry.get(name, "")
    if not isinstance(value, str) or len(value) > _TEXT or (needed and not value.strip()):
        raise BadReferences(f"references: {name} is no text of 1 to {_TEXT} characters")
    return value


def _matched(value: Any, form: re.Pattern[str], what: str) -> str:
    if not isinstance(value, str) or not form.fullmatch(value):
        raise BadReferences(f"references: {what} is not lower-case hex of its length")
    return value


def _cryptopilot(given: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    value = given.get("cryptopilot", {})
    if not isinstance(value, dict) or not value.keys() <= _OPERATIONS:
        raise BadReferences("references: cryptopilot holds load_config and fde_rootfs_hash only")
    for texts in value.values():
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise BadReferences("references: cryptopilot holds lists of texts")
    return {name: tuple(texts) for name, texts in value.items()}
