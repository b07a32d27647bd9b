"""How requests for pictures, transcripts and embeddings end, and how they are gone on with: every
later change of their turns, and their bytes again.
"""

from __future__ import annotations

import orjson
from django.db import transaction
from django.utils import timezone

from accounts import keys
from inference import costs, failures, seals, turn_sql, volume
from inference.errors import NotReady
from inference.failures import Failure
from inference.media import forms, services, transcripts, vectors
from inference.media.asking import Call, Outcome
from inference.media.forms import Part
from inference.media.models import File, Role
from inference.models import Chat, FeeKind, State, Turn
from inference.opening import authorization
from inference.services import ending, storable
from protocol import fees


def request_body(turn: Turn) -> bytes:
    """The exact bytes that were sent, built again where they were a form. Raises Unreadable."""
    job = turn.job
    if not job.form_sealed:
        return turn.chat.box.unpack("request", turn.request_sealed)
    files = {x.role: x for x in turn.files.filter(role__in=(Role.SOURCE, Role.MASK))}
    data = {"image": files.get(Role.SOURCE), "mask": files.get(Role.MASK), "file": job.piece}
    parts = []
    for name, filename, media_type, value in orjson.loads(
        turn.chat.box.open("form", job.form_sealed)
    ):
        file = data.get(name) if filename else None
        content = file.data if file else value.encode()
        parts.append(Part(name, content, filename, media_type))
    return forms.build(parts, forms.boundary_of(job.content_type))


def claim(turn_id: int, dead: str, process: str) -> bool:
    """Take over an open turn of a process that has died. False where somebody else did."""
    rows = Turn.objects.filter(pk=turn_id, process=dead, state=State.OPEN)
    return bool(rows.update(process=process))


def resumed(turn: Turn) -> Call | None:
    """The call that goes on with a provider's job; None where there is none to go on with."""
    if not turn.job.remote:
        return None
    try:
        header = authorization(turn.chat.owner, turn.provider)
        body = request_body(turn)
    except (NotReady, seals.Unreadable):
        return None
    return Call(
        turn.url, header, turn.job.path, turn.job.content_type, body, remote=turn.job.remote
    )


def end(turn_id: int, outcome: Outcome) -> bool:
    """Store what came of an open turn. False where somebody else had ended it."""
    turn = Turn.objects.select_related("chat__owner", "job__piece").get(pk=turn_id)
    failure = outcome.failure
    if failure is not None and failure.kind == "key_rejected":
        keys.forget(turn.chat.owner, turn.provider, turn.created_at)
    fee, kind, quantity = _cost(turn, outcome)
    embedded = outcome.embedded
    counted = embedded.tokens if embedded and failure is None else None
    sealed = _sealed(turn.chat, outcome)
    with transaction.atomic():
        turn_sql.wait_for_same(outcome.answer_id)
        rows = Turn.objects.select_for_update().filter(pk=turn_id, state=State.OPEN)
        if not rows.exists():
            return False
        rows.update(
            state=State.ANSWERED if failure is None else State.FAILED,
            **sealed,
            response_headers=storable(outcome.headers),
            request_sha256=outcome.request_sha256 or turn.request_sha256,
            response_sha256=outcome.response_sha256,
            response_bytes=outcome.response_bytes,
            complete=failure is None,
            answer_id=outcome.answer_id,
            quantity=quantity,
            prompt_tokens=counted,
            completion_tokens=None if counted is None else 0,
            fee=fee,
            fee_kind=kind,
            total_ms=max(1, round((timezone.now() - turn.created_at).total_seconds() * 1000)),
            **ending(failure),
        )
        try:
            for number, (picture, seed) in enumerate(outcome.pictures):
                File.keep(turn.chat, turn, Role.MADE, number, picture, seed=seed)
        except seals.Unreadable:
            pass  # its session ended meanwhile, and with it everybody who could see them
    volume.came(turn.chat.owner_id, sealed.values())
    return True


def _sealed(chat: Chat, outcome: Outcome) -> dict[str, bytes]:
    heard, failure = outcome.heard, outcome.failure
    try:
        return {
            "answer_sealed": chat.box.seal_text("answer", heard.text if heard else ""),
            "detail_sealed": chat.box.seal_text("detail", failure.detail if failure else ""),
            "response_sealed": chat.box.pack("response", outcome.body),
        }
    except seals.Unreadable:
        return {}


def _cost(turn: Turn, outcome: Outcome) -> tuple[int, FeeKind, str]:
    """Neuron, how sure that is, and what it is for."""
    if outcome.failure is not None and outcome.failure.kind in failures.NOT_CHARGED:
        return 0, FeeKind.NONE, ""
    if turn.job.path == transcripts.PATH:
        return _cost_of_speech(turn, outcome)
    if turn.job.path == vectors.PATH:
        return _cost_of_texts(turn, outcome)
    if outcome.failure is not None:
        return costs.of_pictures(turn.output_price, turn.job.count), FeeKind.UNKNOWN, ""
    count = len(outcome.pictures)
    fee = costs.of_pictures(turn.output_price, min(count, turn.job.count))
    return fee, FeeKind.KNOWN, f"{count} picture{'' if count == 1 else 's'}"


def _cost_of_speech(turn: Turn, outcome: Outcome) -> tuple[int, FeeKind, str]:
    length = turn.job.piece.length_ms if turn.job.piece else 0
    if outcome.failure is not None:
        return services.most_of_speech(turn, length), FeeKind.UNKNOWN, ""
    tariff = fees.tariff(turn.input_price, turn.output_price, turn.additional_info)
    cost = costs.of_transcript(tariff, outcome.body)
    return cost.fee, FeeKind(cost.kind), f"{round(length / 100) / 10:g} s"


def _cost_of_texts(turn: Turn, outcome: Outcome) -> tuple[int, FeeKind, str]:
    count = turn.job.count
    quantity = "" if outcome.failure else f"{count} text{'' if count == 1 else 's'}"
    tokens = outcome.embedded.tokens if outcome.embedded else None
    if tokens is None:
        # By the size of the request where the texts cannot be read any more: it holds them.
        size = max(turn.request_bytes, sum(map(vectors.weight, turn.question.split("\n"))))
        return services.most_of_texts(turn, size, count), FeeKind.UNKNOWN, quantity
    tariff = fees.tariff(turn.input_price, turn.output_price, turn.additional_info)
    cost = costs.of_embeddings(tariff, tokens)
    return cost.fee, FeeKind(cost.kind), quantity


def interrupted(reason: str) -> Outcome:
    """The outcome of a request whose process ended and that cannot be gone on with."""
    return Outcome(failure=Failure("interrupted", reason))
