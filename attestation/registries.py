"""Where an image can be looked up: pages of its registry, and Sigstore's log. Pure; asks nobody.

An image's name is a stranger's: a link is made of parts that were matched, to hosts named here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_NAME = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    r"(?:(?P<host>[a-z0-9-]+(?:\.[a-z0-9-]+)+)/)?"
    rf"(?P<path>{_NAME}(?:/{_NAME})*)"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]*)?@sha256:(?P<digest>[0-9a-f]{64})"
)
_MAX = 300
_DOCKER = ("docker.io", "index.docker.io", "registry-1.docker.io", None)


@dataclass(frozen=True)
class Image:
    """An image that is named by its digest. `page`: at its registry, "" for others than we know."""

    reference: str
    page: str
    sigstore: str


def image(reference: str) -> Image | None:
    """Links of a reference with a digest; None for one without, or that is no reference."""
    found = _REFERENCE.fullmatch(reference) if len(reference) <= _MAX else None
    if found is None:
        return None
    digest = found["digest"]
    return Image(
        reference=reference,
        page=_page(found["host"], found["path"], digest),
        # Whoever signed this digest in public stands there; we do not check these signatures.
        sigstore=f"https://search.sigstore.dev/?hash=sha256:{digest}",
    )


def _page(host: str | None, path: str, digest: str) -> str:
    if host in _DOCKER:
        names = path.removeprefix("library/")
        return f"https://hub.docker.com/{f'r/{names}' if '/' in names else f'_/{names}'}"
    if host == "ghcr.io":
        return f"https://ghcr.io/{path}"
    if host == "quay.io":
        return f"https://quay.io/repository/{path}/manifest/sha256:{digest}"
    return ""
