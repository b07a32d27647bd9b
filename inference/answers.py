"""Check an answer that somebody brings: who signed it, and whether what they hold is what was
signed. Needs no account; fetches the provider's signature as the chat does.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from channels.db import database_sync_to_async
from django.utils.translation import gettext as _

from attestation import trust, verify
from attestation.verify import Exchange, ReplyVerdict, Signer
from inference import guard, readiness, shown_words, signatures
from inference.export import FORMAT
from inference.relay import ANSWER_ID
from ledger import selectors as ledger
from ledger.records import Listing
from net import strictjson
from net.client import Client
from net.errors import BadAnswer, BadStatus
from net.limits import JsonLimits

#: A question brings up to four pictures of 1 MB, and each repeats those of its conversation.
MAX_BODY_BYTES = 8 << 20
MAX_FILE_BYTES = 12 << 20
MAX_ANSWERS = 1_000
#: What all packed bytes of a file may become.
MAX_UNPACKED = 64 << 20
FILE = JsonLimits(max_depth=32, max_bytes=MAX_FILE_BYTES, max_marks=1_000_000)


class Unusable(ValueError):
    """What was brought cannot be checked; the text says what to bring."""


@dataclass(frozen=True)
class Body:
    """Bytes of a request or an answer; `typed`: pasted into a form, which changes line ends.

    `sha256`: lower-case hex, where somebody brings hashes without the bytes.
    """

    data: bytes = b""
    typed: bool = False
    sha256: str = ""

    def forms(self) -> tuple[bytes, ...]:
        """The bytes, or each form that a pasted text may have had."""
        if not self.typed:
            return (self.data,)
        text = self.data.replace(b"\r\n", b"\n")
        bare = text.strip(b"\n")
        return tuple(dict.fromkeys((text, bare, bare + b"\n", bare + b"\n\n", self.data)))


@dataclass(frozen=True)
class Checked:
    """One answer with its verdict. Hashes are lower-case hex, "" where not known or not given.

    `verdict` is never `verified` unless both bodies were given; it is "" where hashes without bytes
    equal what was signed. `complete`: the provider ended the answer itself, by what was brought;
    `bytes_held`: the answer's own bytes were brought along with hashes; `named`: `model` is what
    was brought says, else what the provider lists now; `shown`: whether the words that a file shows
    beside the bytes are theirs.
    """

    provider: str
    answer_id: str
    model: str
    acknowledged: bool
    routing: bool
    result: ReplyVerdict
    our_request: str
    our_response: str
    complete: bool = True
    hashes_only: bool = False
    bytes_held: bool = False
    named: bool = False
    shown: shown_words.Words = "same"

    @property
    def verdict(self) -> str:
        whole = self.our_request and self.our_response
        if self.shown == "others":
            return "altered"
        if self.shown == "unread" and self.result.verdict == "verified":
            return ""
        if whole and self.hashes_only and self.result.verdict == "verified":
            return ""
        if not whole and self.result.verdict in ("verified", "rewritten"):
            return "not_comparable"
        return self.result.verdict

    @property
    def signer_ok(self) -> bool:
        return bool(self.result.signer) and (
            self.result.signer.lower() == self.result.expected_signer.lower()
        )


async def check(
    provider: str, answer_id: str, request: Body, response: Body, *, complete: bool = True
) -> Checked:
    """Fetch and judge the signature of one answer; not `complete`: it was stopped or cut off.

    Raises Unusable.
    """
    if not ANSWER_ID.fullmatch(answer_id):
        raise Unusable(
            _("An answer id has up to 128 letters, digits, dots, dashes and underscores.")
        )
    for body in (request, response):
        if len(body.data) > MAX_BODY_BYTES:
            raise Unusable(
                _("A request or an answer of more than %(max_body_bytes)s MB.")
                % {"max_body_bytes": MAX_BODY_BYTES >> 20}
            )
    listing, signer = await database_sync_to_async(_service)(provider)
    policy = trust.provider_policy()
    try:
        async with Client(policy, connections=2) as client:
            document = await signatures.fetch(client, listing.url, answer_id, listing.model)
    except BadStatus as error:
        raise Unusable(
            _(
                "The provider has no signature for this id (status %(status)s). Providers keep "
                "them for about 20 minutes."
            )
            % {"status": error.status}
        ) from None
    except signatures.Later as error:
        raise Unusable(
            _("The provider could not be asked: %(error)s.") % {"error": error}
        ) from None
    return _judged((listing, signer), answer_id, document, request, response, complete=complete)


def conversation(data: bytes) -> tuple[Checked | None, ...]:
    """Every answer of an exported conversation, by the signatures in the file and the signer that
    the chain names now; None for one of which nothing can be said. Raises Unusable.
    """
    try:
        given = strictjson.loads(data, FILE)
    except BadAnswer as error:
        raise Unusable(
            _("This is no exported conversation: %(error)s.") % {"error": error}
        ) from None
    if not is_conversation(given):
        raise Unusable(_("This is no conversation exported here as JSON."))
    turns = [turn for turn in given["turns"] if isinstance(turn, dict)]
    if not any(turn.get("signature") for turn in turns):
        raise Unusable(_("No answer in this file has a signature."))
    if len(turns) > MAX_ANSWERS:
        raise Unusable(
            _("A file of more than %(max_answers)s answers.") % {"max_answers": f"{MAX_ANSWERS:,}"}
        )
    known, unpacker, reader = Known(), _Unpacker(), shown_words.Reader()
    found = []
    for turn in turns:
        request, response = unpacker.bytes_of(turn)
        one = entry(turn, Body(request), Body(response), known)
        if one and one.verdict in ("verified", "rewritten"):
            one = replace(one, shown=reader.compare(turn, request, response))
        found.append(one)
    return some(found)


def some(found: Sequence[Checked | None]) -> tuple[Checked | None, ...]:
    """The same, if anything can be said of one of them. Raises Unusable."""
    if not any(found):
        raise Unusable(
            _("No request in this file has a signature of a provider that is listed now.")
        )
    return tuple(found)


class _Unpacker:
    """Makes the bytes of a file's entries again, one after the other (`inference.export`)."""

    def __init__(self) -> None:
        self._before = b""
        self._room = MAX_UNPACKED

    def bytes_of(self, turn: Mapping[str, Any]) -> tuple[bytes, bytes]:
        """Request and response of an entry, b"" where they are not there. Raises Unusable."""
        if "request_packed" not in turn:  # files of before were not packed
            return _bytes(turn.get("request_base64")), _bytes(turn.get("response_base64"))
        shared = turn.get("request_shared")
        shared = shared if type(shared) is int and 0 <= shared <= len(self._before) else 0
        packed = turn.get("request_packed")
        request = b"" if packed is None else self._before[:shared] + self._unpacked(packed)
        self._take(shared)
        self._before = request
        return request, self._unpacked(turn.get("response_packed"))

    def _unpacked(self, value: object) -> bytes:
        try:
            data = zlib.decompressobj().decompress(_bytes(value), self._room + 1)
        except zlib.error:
            return b""
        self._take(len(data))
        return data

    def _take(self, size: int) -> None:
        self._room -= size
        if self._room < 0:
            raise Unusable(
                _("A file whose answers become more than %(max_unpacked)s MB.")
                % {"max_unpacked": MAX_UNPACKED >> 20}
            )


def is_conversation(given: object) -> bool:
    return (
        isinstance(given, dict)
        and given.get("format") == FORMAT
        and isinstance(given.get("turns"), list)
    )


class Known:
    """Services that were looked up already; None for an address that offers none."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], tuple[Listing, Signer] | None] = {}

    def service(self, provider: str, serving: str) -> tuple[Listing, Signer] | None:
        named = provider, serving
        if named not in self._found:
            try:
                self._found[named] = _service(*named)
            except Unusable:
                self._found[named] = None
        return self._found[named]


def entry(
    given: Mapping[str, Any],
    request: Body,
    response: Body,
    known: Known,
    *,
    pictures: bool = False,
) -> Checked | None:
    """One answer of a file, judged as the chat judged it; None where there is nothing to judge."""
    complete = given.get("complete", given.get("verdict_reason") != "not_received_whole")
    answer_id = str(given.get("answer_id") or "")[:128]
    if not given.get("signature") and (complete is not False or not answer_id):
        return None
    serving = given.get("serving_contract") or given.get("serving")
    service = known.service(str(given.get("provider", "")), str(serving or ""))
    if service is None:
        return None
    return _judged(
        service,
        answer_id,
        given.get("signature"),
        request,
        response,
        complete=complete is not False,
        model=str(given.get("model") or ""),
        pictures=pictures,
    )


def _bytes(value: object) -> bytes:
    try:
        return base64.b64decode(value, validate=True) if isinstance(value, str) else b""
    except (binascii.Error, ValueError):
        return b""


def _service(provider: str, serving: str = "") -> tuple[Listing, Signer]:
    """The inference service of an address and its signer now: of several, which have a key each,
    the one in the `serving` contract, else the one that is asked now. Raises Unusable.
    """
    address = ledger.address_of(provider.strip())
    if address is None:
        raise Unusable(_("This is not an address: 0x and 40 hex digits."))
    listing = readiness.chat_service(address)
    if listing is not None and serving not in ("", listing.serving):
        listed = ledger.services_of(address)
        named = (x for x in listed if x.kind == listing.kind and x.serving == serving)
        listing = next(named, listing)
    if listing is None:
        raise Unusable(_("This address offers no inference service now."))
    signer = guard.signer_of(listing)
    if signer is None:
        raise Unusable(
            _("This provider declares that it signs nothing, so there is nothing to check.")
        )
    return listing, signer


def _judged(
    service: tuple[Listing, Signer],
    answer_id: str,
    document: object,
    request: Body,
    response: Body,
    *,
    complete: bool,
    model: str = "",
    pictures: bool = False,
) -> Checked:
    """`model` as it was asked for, "" = do not compare."""
    listing, signer = service
    nothing = Exchange("", "", complete=False, pictures=pictures)
    signed = verify.reply(document, nothing, signer)
    ours = _matching(request, signed.signed_request), _matching(response, signed.signed_response)
    exchange = Exchange(
        ours[0] or signed.signed_request,
        ours[1] or signed.signed_response,
        complete=complete,
        model=model,
        pictures=pictures,
    )
    if document:
        result = verify.reply(document, exchange, signer)
    else:
        missing = verify.no_reply(exchange, "not_found")
        result = replace(missing, expected_signer=signer.address)
    return Checked(
        provider=listing.provider,
        answer_id=answer_id,
        model=model or listing.model,
        acknowledged=signer.acknowledged,
        routing=signer.routing,
        result=result,
        our_request=ours[0],
        our_response=ours[1],
        complete=complete,
        hashes_only=bool(request.sha256 or response.sha256),
        named=bool(model),
    )


def _matching(body: Body, signed: str) -> str:
    """The hash of the form that was signed, else of the body as it is; "" without a body."""
    if body.sha256:
        return body.sha256
    if not body.data:
        return ""
    hashes: Sequence[str] = [hashlib.sha256(form).hexdigest() for form in body.forms()]
    return signed if signed in hashes else hashes[0]
