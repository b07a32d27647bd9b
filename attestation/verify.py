"""Evidence becomes a verdict. Pure: no clock, no network, no database.

One report: `judge` turns evidence and its context into a Report (attestation.md), through the
engine.

One answer, one signature: `reply` tells apart what the official SDK does not (provider-protocol.md
3.3): who signed, whether the signed request is ours, whether the signed answer is what we got.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from attestation import declared
from attestation.engine.reports import judge
from protocol import replies
from protocol.addresses import is_address

__all__ = ["Exchange", "ReplyVerdict", "Signer", "judge", "no_reply", "reply", "signer_of"]

MessageVerdict = Literal[
    "pending", "verified", "rewritten", "altered", "not_comparable", "failed", "unavailable"
]
Scheme = Literal["req:resp", "model:req:resp", "routing", ""]
Reason = Literal[
    "hashes_match",
    "request_differs",
    "model_differs",
    "answer_differs",
    "not_received_whole",
    "signer_unacknowledged",
    "wrong_signer",
    "bad_signature",
    "reused",
    "unknown_form",
    "never_signs",
    "no_id",
    "not_found",
    "unusable",
]

MAX_MODEL_CHARS = 200
MAX_PICTURES = 10


@dataclass(frozen=True)
class Signer:
    """Whom the chain names as signer of a service's answers, and whether the owner accepted it."""

    address: str
    acknowledged: bool
    routing: bool = False


@dataclass(frozen=True)
class Exchange:
    """What we sent and received. `complete`: the provider ended the answer itself, no byte is
    missing.

    `reused`: this provider used the same answer id for an earlier answer. `model` is the one asked
    for ("" = do not compare). Hashes are lower-case hex; `response_sha256` of `pictures` is one for
    each, in order, with commas between, as they are signed.
    """

    request_sha256: str
    response_sha256: str
    complete: bool
    reused: bool = False
    model: str = ""
    pictures: bool = False


@dataclass(frozen=True)
class ReplyVerdict:
    """The verdict of interfaces.md 3 with every fact it rests on; "" where a fact is not known."""

    verdict: MessageVerdict
    reason: Reason
    signer: str = ""
    expected_signer: str = ""
    scheme: Scheme = ""
    signed_request: str = ""
    signed_response: str = ""
    signed_model: str = ""


def signer_of(
    *, tee_signer: str, acknowledged: bool, verifiability: str, additional_info: str
) -> Signer | None:
    """The signer to expect for a service as the chain holds it, or None when it says it never
    signs.

    A separated model TEE signs with `TargetTeeAddress`; a centralised upstream is signed for by the
    broker (a routing proof). provider-protocol.md 3.3 step 4, 3.4.
    """
    said = declared.of(verifiability, additional_info)
    address = said.model_signer if said.word == "separated" else tee_signer
    if said.word == "standard" or not is_address(address) or not int(address, 16):
        return None
    return Signer(address, acknowledged, routing=said.word == "centralized")


def reply(document: object, exchange: Exchange, signer: Signer) -> ReplyVerdict:
    """Judge one signature reply (the JSON of `/v1/proxy/signature/{id}`, a stranger's).

    Equal hashes prove the answer even when it was stopped: then nothing was missing. Never raises.
    """
    try:
        signed = replies.parse_reply(document)
    except replies.BadReply:
        return ReplyVerdict("unavailable", "unusable", expected_signer=signer.address)
    said = _signed(signed.text, MAX_PICTURES if exchange.pictures else 1)
    scheme, signed_request, signed_response, signed_model = said
    facts = replies.check(
        signed,
        expected_signer=signer.address,
        request_sha256=exchange.request_sha256,
        response_sha256=[exchange.response_sha256],
    )

    def verdict(word: MessageVerdict, reason: Reason) -> ReplyVerdict:
        return ReplyVerdict(word, reason, facts.signer, signer.address, *said)

    if not facts.signer:
        return verdict("failed", "bad_signature")
    if not facts.signer_ok:
        return verdict("failed", "wrong_signer")
    if not signer.acknowledged:
        return verdict("failed", "signer_unacknowledged")
    if not scheme:
        return verdict("unavailable", "unknown_form")
    if signed_response != exchange.response_sha256:
        if not exchange.complete:
            return verdict("not_comparable", "not_received_whole")
        return verdict("altered", "answer_differs")
    if exchange.reused:
        return verdict("failed", "reused")
    if signed_request != exchange.request_sha256:
        return verdict("rewritten", "request_differs")
    if signed_model and exchange.model and not _same_model(signed_model, exchange.model):
        return verdict("rewritten", "model_differs")
    return verdict("verified", "hashes_match")


def no_reply(
    exchange: Exchange, reason: Literal["never_signs", "no_id", "not_found"]
) -> ReplyVerdict:
    """The verdict where no signature can be had. What was stopped could not be compared anyway."""
    if not exchange.complete and reason != "never_signs":
        return ReplyVerdict("not_comparable", "not_received_whole")
    return ReplyVerdict("unavailable", reason)


def _signed(text: str, most: int) -> tuple[Scheme, str, str, str]:
    """Scheme, request hash, up to `most` response hashes and model ("" unless signed) of a signed
    text; all "" for forms we cannot read.
    """
    try:
        said = replies.parse_text(text)
    except replies.BadReply:
        # Model-side proxies put the model's name (which may contain colons) in front.
        cut = len(text) - 129
        if cut < 2 or text[cut - 1] != ":":
            return "", "", "", ""
        try:
            said = replies.parse_text(text[cut:])
        except replies.BadReply:
            return "", "", "", ""
        model = text[: cut - 1][:MAX_MODEL_CHARS].replace("\x00", "\ufffd")
        return "model:req:resp", said.request_sha256, said.response_sha256[0], model
    if len(said.response_sha256) > most:
        return "", "", "", ""
    scheme: Scheme = "routing" if said.routing_proof else "req:resp"
    return scheme, said.request_sha256, ",".join(said.response_sha256), ""


def _same_model(signed: str, asked: str) -> bool:
    """Whether both name one model: letter case and the publisher in front may differ."""
    one, other = signed.casefold(), asked.casefold()
    return one == other or one.endswith("/" + other) or other.endswith("/" + one)
