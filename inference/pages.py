"""One frozen dataclass per page or fragment: the whole of what its template sees as `page`."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Self
from uuid import UUID

from django.utils.safestring import SafeString

from inference import markdown, words
from inference.models import Chat, FeeKind, State, Turn, Verdict
from inference.readiness import TOP_UP, Readiness
from inference.words import Explanation
from ledger.records import Listing
from protocol import fees


@dataclass(frozen=True)
class Conversation:
    """A line of the list of conversations."""

    id: UUID
    title: str
    updated_at: dt.datetime
    current: bool

    @classmethod
    def of(cls, chat: Chat, current: Chat | None) -> Self:
        return cls(chat.pk, chat.title, chat.updated_at, current is not None and chat == current)


@dataclass(frozen=True)
class ServiceOption:
    """A choice of the provider select; strings are the provider's own."""

    provider: str
    model: str
    input_price: int
    output_price: int
    selected: bool


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
    answer_id: str
    fetched_at: dt.datetime | None

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
class TurnView:
    """A question with its answer, cost and proof. `answer` is the raw text, `html` is safe."""

    id: int
    chat: UUID
    state: str
    question: str
    answer: str
    html: SafeString | None
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
    failure_detail: str
    retry_after: int
    verdict: str
    verdict_words: str
    can_recheck: bool
    proof: Proof

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
        return bool(self.answer) or self.state in (State.ANSWERED, State.STOPPED)

    @property
    def ttft(self) -> str:
        """`420 ms`, or `1.2 s` from a second on."""
        ms = self.first_token_ms
        return f"{ms} ms" if ms < 1000 else f"{ms // 1000}.{ms % 1000 // 100} s"

    @classmethod
    def of(cls, turn: Turn) -> Self:
        ending = None
        if turn.state == State.STOPPED:
            ending = words.STOPPED
        elif turn.state in (State.CUT_OFF, State.FAILED):
            ending = words.failure(turn.failure)
        return cls(
            id=turn.pk,
            chat=turn.chat_id,
            state=turn.state,
            question=turn.question,
            answer=turn.answer,
            html=None if turn.state == State.OPEN else markdown.render(turn.answer),
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
                answer_id=turn.answer_id,
                fetched_at=turn.signature_at,
            ),
        )


def _speed(turn: Turn) -> int | None:
    """Whole tokens per second after the first one; None where it cannot be known."""
    writing = turn.total_ms - turn.first_token_ms
    if not turn.completion_tokens or not turn.first_token_ms or writing <= 0:
        return None
    return turn.completion_tokens * 1000 // writing


@dataclass(frozen=True)
class TurnPage:
    """One turn alone, as the page fetches it when an answer or a verdict has come."""

    turn: TurnView


@dataclass(frozen=True)
class SidePage:
    """What depends on the chosen provider: its facts, the person's balance there, what to do
    first.
    """

    service: Listing | None
    readiness: Readiness
    signed_in: bool
    has_key: bool
    balance: int
    spendable: int
    reserve: int = fees.MINIMUM_RESERVE
    top_up: int = TOP_UP

    @property
    def top_up_text(self) -> str:
        return str(self.top_up // fees.NEURON_PER_0G)

    @property
    def most(self) -> int:
        """The most one ordinary question can cost; neuron."""
        return max(0, self.readiness.need - self.reserve)

    @property
    def waiting(self) -> bool:
        """Whether something that happens elsewhere (a transaction) can change this soon."""
        return self.readiness.code in ("no_ledger", "not_funded", "not_acknowledged")


@dataclass(frozen=True)
class ChatPage:
    """The playground: conversations, the thread, and the side."""

    conversations: tuple[Conversation, ...]
    more_conversations: bool
    chat: Chat | None
    turns: tuple[TurnView, ...]
    earlier_turns: int
    options: tuple[ServiceOption, ...]
    side: SidePage
    max_prompt: int
    examples: tuple[str, ...]
    draft: str = ""
    error: str = ""
    new_signer: str = ""
