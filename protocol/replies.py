"""Signed answers: which text a provider's TEE signs for an answer, and what a signature proves
(provider-protocol.md 3).

The official SDK checks only that *some* text was signed by the right key. Here the three facts
stay apart: the signer, the hash of the request, the hash of the response. All hashes are SHA-256
as lower-case hex.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from protocol.digests import BadSignature, personal_digest, recover, sign

SIGNING_ALGORITHM = "ecdsa"
MAX_TEXT_CHARS = 65_536

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


class BadReply(ValueError):
    """A signature reply or a signed text does not have a known form; the text says where."""


@dataclass(frozen=True)
class SignedText:
    """A parsed signed text.

    `response_sha256` holds one hash, or one per picture; the last three only for routing proofs.
    """

    request_sha256: str
    response_sha256: tuple[str, ...]
    provider_type: str = ""
    provider_identity: str = ""
    tls_fingerprint: str = ""

    @property
    def routing_proof(self) -> bool:
        """True where the signature proves only which upstream was asked, not how the model ran."""
        return bool(self.tls_fingerprint)


@dataclass(frozen=True)
class SignatureReply:
    """What `GET /v1/proxy/signature/{id}` answered, types checked and nothing else."""

    text: str
    signature: str
    signing_address: str


@dataclass(frozen=True)
class ReplyCheck:
    """Three separate facts about one answer.

    `signer` is the recovered address, "" if the signature is malformed.
    """

    signer: str
    signer_ok: bool
    request_ok: bool
    response_ok: bool
    problem: str = ""


def sha256_hex(data: bytes) -> str:
    """Lower-case hex SHA-256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def signed_text(request_sha256: str, *response_sha256: str) -> str:
    """The text of an answer from the same TEE: one response hash, or one per picture in order."""
    return f"{request_sha256}:{','.join(response_sha256)}"


def parse_text(text: str) -> SignedText:
    """Read any of the known text forms.

    Raises BadReply for every other one (end-to-end tags included).
    """
    if len(text) > MAX_TEXT_CHARS:
        raise BadReply("the signed text is too long")
    request, separator, rest = text.partition(":")
    if not separator or not _SHA256.match(request):
        raise BadReply("the signed text does not start with a SHA-256 hash")
    responses, separator, route = rest.partition(":")
    hashes = tuple(responses.split(","))
    if not all(_SHA256.match(part) for part in hashes):
        raise BadReply("the signed text holds no SHA-256 hash of a response")
    if not separator:
        return SignedText(request, hashes)
    provider_type, _, identity_and_print = route.partition(":")
    # The identity is a host name and may bring its own port, so the fingerprint is what follows
    # the last colon.
    identity, _, fingerprint = identity_and_print.rpartition(":")
    if len(hashes) != 1 or not provider_type or not identity or not _SHA256.match(fingerprint):
        raise BadReply("the signed text is neither an answer nor a routing proof")
    return SignedText(request, hashes, provider_type, identity, fingerprint)


def sign_text(text: str, private_key: bytes) -> str:
    """The 0x-hex personal signature of `text` itself (no hashing before EIP-191)."""
    return "0x" + sign(personal_digest(text.encode()), private_key).hex()


def parse_reply(document: object) -> SignatureReply:
    """Type-check the JSON of the signature endpoint, which is a stranger's. Raises BadReply."""
    if not isinstance(document, dict):
        raise BadReply("the signature reply is not a JSON object")
    values: dict[str, str] = {}
    for name, limit in (("text", MAX_TEXT_CHARS), ("signature", 132), ("signing_address", 42)):
        value = document.get(name)
        if not isinstance(value, str) or not value or len(value) > limit:
            raise BadReply(f"the signature reply has no usable {name!r}")
        values[name] = value
    algorithm = document.get("signing_algo", SIGNING_ALGORITHM)
    if algorithm != SIGNING_ALGORITHM:
        raise BadReply("the signature reply names an unknown algorithm")
    return SignatureReply(values["text"], values["signature"], values["signing_address"])


def check(
    reply: SignatureReply,
    *,
    expected_signer: str,
    request_sha256: str,
    response_sha256: Sequence[str],
) -> ReplyCheck:
    """Compare a signature with what we sent and received; each fact on its own.

    `expected_signer` is the signer the chain names (`signing_address` of the reply is only a claim
    and is ignored). Never raises for hostile input: a malformed signature or text is a failed fact
    with its `problem` in words.
    """
    try:
        signer = recover(
            personal_digest(reply.text.encode("utf-8", "surrogatepass")), reply.signature
        )
    except BadSignature as error:
        return ReplyCheck("", False, False, False, str(error))
    signer_ok = signer.lower() == expected_signer.lower()
    problem = "" if signer_ok else "signed by another key than the one on chain"
    try:
        said = parse_text(reply.text)
    except BadReply as error:
        return ReplyCheck(signer, signer_ok, False, False, problem or str(error))
    return ReplyCheck(
        signer=signer,
        signer_ok=signer_ok,
        request_ok=said.request_sha256 == request_sha256,
        response_ok=said.response_sha256 == tuple(response_sha256),
        problem=problem,
    )
