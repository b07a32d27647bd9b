"""What a page shows of one question and its answers."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Self
from uuid import UUID

from django.utils.safestring import SafeString

from inference import costs, markdown, words
from inference.branches import Place
from inference.formulas import Room
from inference.media.models import File
from inference.models import FeeKind, State, Turn, Verdict
from inference.timings import SHORTEST_MS
from inference.tools import ToolResult
from inference.words import Explanation
from probes.templatetags.health import seconds

LIMITED_SECONDS = 10


@dataclass(frozen=True)
class Proof:
    """Both hashes, ours and the signed ones, and who signed; "" where not known."""

    our_request: str
    signed_request: str
    our_response: str
    signed_response: str
    signer: str
    expected_signer: str
    scheme: str
    routing: bool
    model: str
    signed_model: str
    reason: str
    answer_id: str
    fetched_at: dt.datetime | None

    @property
    def model_differs(self) -> bool:
        return self.reason == "model_differs"

    @property
    def request_differs(self) -> bool:
        return bool(self.signed_request) and self.signed_request != self.our_request

    @property
    def response_differs(self) -> bool:
        return bool(self.signed_response) and self.signed_response != self.our_response

    @property
    def signer_differs(self) -> bool:
        return bool(self.signer) and self.signer.lower() != self.expected_signer.lower()


@dataclass(frozen=True)
class Other:
    """A provider that could answer the same question: the most it could cost, the difference to the
    first one (neuron, signed), what is known about its machine, and whether the person's balance
    there pays for it.
    """

    provider: str
    model: str
    most: int
    difference: int
    verdict: str
    funded: bool

    @property
    def cheaper(self) -> int:
        return -self.difference


@dataclass(frozen=True)
class CallView:
    """A function that an answer calls; `typed` is a result of it that was refused."""

    name: str
    arguments: str
    typed: str = ""


@dataclass(frozen=True)
class TurnView:
    """One answer, its cost and proof. `answer` is the raw text, `html` is safe; `results` are those
    of the calls of the turn before.
    """

    id: int
    chat: UUID
    state: str
    question: str
    answer: str
    html: SafeString | None
    reasoning: str
    reasoning_ms: int
    model: str
    provider: str
    prompt_tokens: int | None
    completion_tokens: int | None
    fee: int
    fee_kind: str
    first_token_ms: int
    tokens_per_second: int | None
    finish_reason: str
    ending: Explanation | None
    failure: str
    failure_detail: str
    retry_after: int
    verdict: str
    verdict_words: str
    can_recheck: bool
    proof: Proof
    #: Other providers that could answer instead; only for an answer that did not come.
    others: tuple[Other, ...] = ()
    #: Questions that could be left out of the next request, and the turn up to which.
    oldest: tuple[str, ...] = ()
    forget_until: int = 0
    calls: tuple[CallView, ...] = ()
    results: tuple[ToolResult, ...] = ()

    @property
    def open(self) -> bool:
        return self.state == State.OPEN

    @property
    def watched(self) -> bool:
        """Whether the page should look again: the signature is still being fetched."""
        return not self.open and self.verdict == Verdict.PENDING

    @property
    def sent(self) -> bool:
        """Whether anything came back that could be signed."""
        said = bool(self.answer or self.calls)
        return said or self.state in (State.ANSWERED, State.STOPPED)

    @property
    def takes_results(self) -> bool:
        """Whether the functions it calls are all there, so that their results can be given."""
        return bool(self.calls) and self.state == State.ANSWERED

    @property
    def refused_results(self) -> bool:
        return any(call.typed for call in self.calls)

    @property
    def wait(self) -> int:
        """Seconds before asking again can help: the provider's word, or ours where it limits and
        says none.
        """
        return self.retry_after or (LIMITED_SECONDS if self.failure == "rate_limited" else 0)

    @property
    def ttft(self) -> str:
        """`420 ms`, or `1.2 s` from a second on."""
        return seconds(self.first_token_ms)

    @property
    def reasoning_tokens(self) -> int:
        """About how many; providers count them with those of the answer, if at all."""
        return costs.tokens(len(self.reasoning.encode()))

    @property
    def thought(self) -> str:
        return seconds(self.reasoning_ms)

    @property
    def silent(self) -> bool:
        """Whether the model ended without a word: it thought up to its limit, or had none."""
        return self.state == State.ANSWERED and not (self.answer.strip() or self.calls)

    @property
    def can_continue(self) -> bool:
        """Whether there is a half answer to go on from."""
        cut = self.state in (State.STOPPED, State.CUT_OFF) or self.finish_reason == "length"
        return cut and bool(self.answer)

    @classmethod
    def of(
        cls,
        turn: Turn,
        others: tuple[Other, ...] = (),
        oldest: tuple[Turn, ...] = (),
        typed: Sequence[str] = (),
        room: Room | None = None,
        *,
        laid: bool = True,
    ) -> Self:
        """`typed`: results of its calls that were refused; `room`: what is left for formulas on its
        page; `laid`: whether the page shows the answer laid out, which takes time.
        """
        ending = None
        if turn.state == State.STOPPED:
            ending = words.STOPPED
        elif turn.state in (State.CUT_OFF, State.FAILED):
            came = bool(turn.answer or turn.reasoning or turn.calls)
            ending = words.failure(turn.failure, came)
        return cls(
            id=turn.pk,
            chat=turn.chat_id,
            state=turn.state,
            question=turn.question,
            answer=turn.answer,
            html=markdown.render(turn.answer, room=room)
            if laid and turn.state != State.OPEN
            else None,
            reasoning=turn.reasoning,
            reasoning_ms=turn.reasoning_ms,
            model=turn.model,
            provider=turn.provider,
            prompt_tokens=turn.prompt_tokens,
            completion_tokens=turn.completion_tokens,
            fee=turn.fee,
            fee_kind=FeeKind(turn.fee_kind).value,
            first_token_ms=turn.first_token_ms,
            tokens_per_second=_speed(turn),
            finish_reason=turn.finish_reason,
            ending=ending,
            failure=turn.failure,
            failure_detail=turn.failure_detail if turn.failure_status else "",
            retry_after=turn.retry_after,
            verdict=turn.verdict,
            verdict_words=words.verdict(turn.verdict_reason),
            can_recheck=turn.can_be_asked_again,
            proof=Proof(
                our_request=turn.request_sha256,
                signed_request=turn.signed_request,
                our_response=turn.response_sha256,
                signed_response=turn.signed_response,
                signer=turn.signer,
                expected_signer=turn.expected_signer,
                scheme=turn.scheme,
                # The listing may keep silent about what the signature itself admits.
                routing=turn.routing_proof or turn.scheme == "routing",
                model=turn.model,
                signed_model=turn.signed_model,
                reason=turn.verdict_reason,
                answer_id=turn.answer_id,
                fetched_at=turn.signature_at,
            ),
            others=others,
            oldest=tuple(x.question or _names(x) for x in oldest),
            forget_until=oldest[-1].pk if oldest else 0,
            calls=tuple(
                CallView(call.name, call.shown, typed[at] if at < len(typed) else "")
                for at, call in enumerate(turn.calls)
            ),
            results=turn.results,
        )


def _names(turn: Turn) -> str:
    """Of a turn that asks nothing: whose results it gives."""
    return ", ".join(result.name for result in turn.results)


def _speed(turn: Turn) -> int | None:
    """Whole tokens per second from the first one on; None where it cannot be known."""
    writing = turn.total_ms - turn.first_token_ms
    if not turn.completion_tokens or not turn.first_token_ms or writing < SHORTEST_MS:
        return None
    return turn.completion_tokens * 1000 // writing


@dataclass(frozen=True)
class Asked:
    """A question with its answer, or with several that were asked side by side. `cut`: from here on
    the conversation goes along with the next question, what is above does not.
    """

    id: int
    chat: UUID
    question: str
    place: Place
    answers: tuple[TurnView, ...]
    cut: bool
    last: bool
    pictures: tuple[File, ...] = ()
    results: tuple[ToolResult, ...] = ()
    #: Of the very first request of a person: neuron that can still be spent at its provider.
    left: int | None = None

    @classmethod
    def of(
        cls,
        turn: Turn,
        place: Place,
        columns: Mapping[int, Turn],
        *,
        cut: bool = False,
        last: bool = True,
        others: tuple[Other, ...] = (),
        oldest: tuple[Turn, ...] = (),
        pictures: tuple[File, ...] = (),
        typed: Mapping[int, Sequence[str]] = MappingProxyType({}),
        room: Room | None = None,
        left: int | None = None,
    ) -> Self:
        """`columns` holds the turns of `place.columns` by id, `typed` results of their calls that
        were refused; `room` as for `TurnView.of`.
        """
        shown = [columns[pk] for pk in place.columns if pk in columns] or [turn]
        return cls(
            id=turn.pk,
            chat=turn.chat_id,
            question=turn.question,
            place=place,
            answers=tuple(
                TurnView.of(x, others, oldest, typed.get(x.pk, ()), room)
                if x.pk == turn.pk
                else TurnView.of(x, typed=typed.get(x.pk, ()), room=room)
                for x in shown
            ),
            cut=cut,
            last=last,
            pictures=pictures,
            results=turn.results,
            left=left,
        )

    @property
    def open(self) -> bool:
        return any(answer.open for answer in self.answers)
