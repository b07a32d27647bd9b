"""A conversation as a file: to read (Markdown), or with everything that proves it (JSON).

The JSON holds for every answer the exact bytes sent and received, their SHA-256, and the provider's
signature as it came: whoever has the file can compute each verdict again without us. Bytes are
packed (zlib, then base64), and a request begins with as many bytes of the one before it in the file
as `request_shared` says: each question repeats the whole conversation.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

import orjson
from django.db.models import QuerySet
from django.utils import timezone

from inference import attachments
from inference.conversations import tree_of
from inference.media.models import File
from inference.models import Chat, FeeKind, State, Turn
from inference.seals import Unreadable

FORMAT = "0g-market-conversation"
VERSION = 2
HOW = (
    "request = request of the entry before [:request_shared] + zlib(base64(request_packed)); "
    "response = zlib(base64(response_packed)); null where it was not kept. The signature is of "
    "text, and text names the SHA-256 of both."
)


def document(chat: Chat) -> Iterator[bytes]:
    """The JSON file in pieces, every branch of the conversation included, oldest turn first."""
    made = {
        "format": FORMAT,
        "version": VERSION,
        "how": HOW,
        "title": chat.title,
        "owner": chat.owner.address,
        "exported_at": timezone.now().isoformat(),
        "current": chat.leaf_id,
    }
    yield orjson.dumps(made, option=orjson.OPT_INDENT_2).removesuffix(b"\n}") + b',\n  "turns": ['
    numbers = list(chat.turns.order_by("pk").values_list("pk", flat=True))
    shown = attachments.of_turns(chat, numbers)
    before, comma = b"", b""
    for turn in _one_by_one(chat.turns.all(), numbers):
        request = bytes_of(turn, "request")
        said = entry(turn, shown.get(turn.pk, ()), request, before)
        yield comma + b"\n" + orjson.dumps(said, option=orjson.OPT_INDENT_2)
        before, comma = request or b"", b","
    yield b"\n  ]\n}"


def _one_by_one(rows: QuerySet[Turn], numbers: Iterable[int]) -> Iterator[Turn]:
    """Those of the turns that are there still. One has up to ten megabytes, and a conversation a
    thousand; no cursor outlives what a reader takes in one piece.
    """
    for number in numbers:
        turn = rows.filter(pk=number).first()
        if turn is not None:
            yield turn


def entry(
    turn: Turn, pictures: Sequence[File] = (), request: bytes | None = None, before: bytes = b""
) -> dict[str, Any]:
    """One answer with its proof. Amounts are decimal strings of neuron; the bytes of pictures are
    in the request. `before` is the request before it in the file.
    """
    shared = _shared(request or b"", before)
    response = bytes_of(turn, "response")
    received = response is not None and _sha256(response) == turn.response_sha256
    return {
        "id": turn.pk,
        "parent": turn.parent_id,
        "asked_at": turn.created_at.isoformat(),
        "ended_at": turn.ended_at.isoformat() if turn.ended_at else None,
        "state": turn.state,
        "question": turn.question,
        "pictures": [
            {"sha256": x.sha256, "type": x.media_type, "width": x.width, "height": x.height}
            for x in pictures
        ],
        "results": [asdict(result) for result in turn.results],
        "reasoning": turn.reasoning,
        "answer": turn.answer,
        "calls": [asdict(call) for call in turn.calls],
        "provider": turn.provider,
        "serving_contract": turn.serving,
        "url": turn.url,
        "model": turn.model,
        "input_price": str(turn.input_price),
        "output_price": str(turn.output_price),
        "additional_info": turn.additional_info,
        "prompt_tokens": turn.prompt_tokens,
        "completion_tokens": turn.completion_tokens,
        "cached_tokens": turn.cached_tokens,
        "fee": str(turn.fee),
        "fee_kind": turn.fee_kind,
        "first_token_ms": turn.first_token_ms,
        "total_ms": turn.total_ms,
        "finish_reason": turn.finish_reason,
        "failure": turn.failure,
        "failure_status": turn.failure_status,
        "failure_detail": turn.failure_detail,
        "request_sha256": turn.request_sha256,
        "request_shared": shared,
        "request_packed": None if request is None else _packed(request[shared:]),
        "response_sha256": turn.response_sha256,
        "response_bytes": turn.response_bytes,
        # Only where it is all of what was hashed: a half would look like a forgery.
        "response_packed": _packed(response) if response is not None and received else None,
        "response_headers": turn.response_headers,
        "complete": turn.complete,
        "answer_id": turn.answer_id,
        "expected_signer": turn.expected_signer,
        "signer_acknowledged": turn.signer_acknowledged,
        "signature": turn.signature,
        "signature_fetched_at": turn.signature_at.isoformat() if turn.signature_at else None,
        "signer": turn.signer,
        "scheme": turn.scheme,
        "signed_model": turn.signed_model,
        "signed_request": turn.signed_request,
        "signed_response": turn.signed_response,
        "verdict": turn.verdict,
        "verdict_reason": turn.verdict_reason,
    }


def markdown(chat: Chat) -> Iterator[bytes]:
    """The shown branch as Markdown in pieces, with model, cost, verdict, hashes and signature under
    each answer.
    """
    path = tree_of(chat).path(chat.leaf_id)
    shown = attachments.of_turns(chat, path)
    yield f"# {chat.title or 'Conversation'}\n".encode("utf-8", "replace")
    for turn in _one_by_one(chat.turns.defer("request_sealed", "response_sealed"), path):
        yield b"\n" + _section(turn, shown.get(turn.pk, ())).encode("utf-8", "replace")


def _section(turn: Turn, pictures: Sequence[File]) -> str:
    signature = turn.signature if isinstance(turn.signature, dict) else {}
    most = "up to " if turn.fee_kind == FeeKind.UNKNOWN else ""
    facts = [
        ("Asked", turn.created_at.isoformat(timespec="seconds")),
        *(("Picture SHA-256", file.sha256) for file in pictures),
        ("Provider", turn.provider),
        ("Model", turn.model),
        ("State", State(turn.state).label),
        ("Tokens", _tokens(turn)),
        ("Cost", f"{most}{turn.fee} neuron ({turn.get_fee_kind_display()})"),
        ("Verdict", f"{turn.verdict} ({turn.verdict_reason})".removesuffix(" ()")),
        ("Request SHA-256", turn.request_sha256),
        ("Response SHA-256", turn.response_sha256),
        ("Signed text", signature.get("text", "")),
        ("Signature", signature.get("signature", "")),
        ("Signer", turn.signer),
        ("Signer on chain", turn.expected_signer),
    ]
    lines = [f"- {name}: `{_plain(value)}`" for name, value in facts if value]
    said = [f"Result of {_plain(x.name)}:\n\n{_indented(x.content)}" for x in turn.results]
    asked = "\n\n".join(filter(None, (*said, turn.question)))
    question = "\n".join(f"> {line}" for line in asked.splitlines())
    called = [f"Calls `{_plain(x.name)}`:\n\n{_indented(x.shown)}" for x in turn.calls]
    answer = "\n\n".join(filter(None, (turn.answer, *called)))
    return f"{question}\n\n{answer}\n\n" + "\n".join(lines) + "\n\n---\n"


def _tokens(turn: Turn) -> str:
    """Nothing where nobody counted."""
    if turn.prompt_tokens is None:
        return ""
    return f"{turn.prompt_tokens} in, {turn.completion_tokens} out"


def _indented(text: str) -> str:
    """As Markdown's code, which no text can end."""
    return "\n".join(f"    {line}" for line in text.splitlines())


def _plain(value: object) -> str:
    return " ".join(str(value).replace("`", "'").split())[:400]


def bytes_of(turn: Turn, name: str) -> bytes | None:
    """Its `request` or `response`; None where their key is gone."""
    try:
        return bytes(getattr(turn, name))
    except Unreadable:
        return None


def _shared(one: bytes, other: bytes) -> int:
    """How many bytes both begin with."""
    least, most = 0, min(len(one), len(other))
    while least < most:
        middle = (least + most + 1) // 2
        least, most = (middle, most) if one[:middle] == other[:middle] else (least, middle - 1)
    return least


def _packed(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data, 9)).decode()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
