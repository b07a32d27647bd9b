"""What an act is about: exactly one subject, named by a natural key. Pure but for its readers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlencode

from eth_utils.address import is_checksum_address


class SubjectKind(StrEnum):
    """What moderators decide about. Staff acts of other areas name kinds of their own."""

    SERVICE = "service"
    PROVIDER = "provider"
    MODEL = "model"
    USER = "user"
    SHARE = "share"


@dataclass(frozen=True)
class Subject:
    """`key`: `serving:provider` of a service, the address of a provider or user, the name of a
    model, the SHA-256 of the secret that a shared conversation's link is."""

    kind: str
    key: str

    @property
    def report_path(self) -> str:
        """The form that reports it, by which its owner appeals too."""
        return "/moderation/report?" + urlencode({"about": self.kind, "key": self.key})

    @classmethod
    def service(cls, serving: str, provider: str) -> Subject:
        return cls(SubjectKind.SERVICE, f"{serving}:{provider}")

    @classmethod
    def provider_of(cls, address: str) -> Subject:
        return cls(SubjectKind.PROVIDER, address)

    @classmethod
    def model(cls, name: str) -> Subject:
        return cls(SubjectKind.MODEL, name)

    @classmethod
    def user(cls, address: str) -> Subject:
        return cls(SubjectKind.USER, address)

    @classmethod
    def share(cls, digest: str) -> Subject:
        return cls(SubjectKind.SHARE, digest)

    @classmethod
    def parse(cls, kind: str, key: str) -> Subject | None:
        """A stranger's words as a subject that can be decided about, or None."""
        if "\x00" in key or not key or len(key) > MAX_KEY:
            return None
        if kind == SubjectKind.SERVICE:
            serving, _, provider = key.partition(":")
            fits = is_checksum_address(serving) and is_checksum_address(provider)
        elif kind in (SubjectKind.PROVIDER, SubjectKind.USER):
            fits = is_checksum_address(key)
        elif kind == SubjectKind.SHARE:
            fits = _DIGEST.fullmatch(key) is not None
        else:
            fits = kind == SubjectKind.MODEL
        return cls(kind, key) if fits else None

    @property
    def serving(self) -> str:
        return self.key.partition(":")[0] if self.kind == SubjectKind.SERVICE else ""

    @property
    def address(self) -> str:
        """The wallet that a service, a provider or a user is; empty for others."""
        if self.kind == SubjectKind.SERVICE:
            return self.key.partition(":")[2]
        return self.key if self.kind in (SubjectKind.PROVIDER, SubjectKind.USER) else ""


_DIGEST = re.compile(r"[0-9a-f]{64}")
#: Characters of a key: names of models are a stranger's.
MAX_KEY = 500
