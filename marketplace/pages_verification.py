"""Pages about evidence: a service's tab Verification, its findings, and `/verify`."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape

from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from accounts.pages_parts import Pager
from accounts.pages_transaction import Link
from attestation import words
from attestation.engine.verdicts import marked
from attestation.history import HistoryEntry
from attestation.printing import QUESTIONS
from attestation.selectors import StandingView
from inference import words as message_words
from inference.answers import Checked
from marketplace import formats
from marketplace.findings import FindingRow
from marketplace.pages import ServiceHead

#: A check that was asked for and never came is not waited for any longer.
WAIT_SECONDS = 90


@dataclass(frozen=True)
class Answer:
    """One of the five questions in short. `chip`: as shown, `dev-` under development anchors."""

    name: str
    title: str
    chip: str


@dataclass(frozen=True)
class EndpointPanel:
    """One machine of the service. `about`: which, in words."""

    about: str
    chip: str
    report: uuid.UUID | None
    checked_at: dt.datetime | None
    error: str


@dataclass(frozen=True)
class StandingPanel:
    """What is known now. `declared`: what the service's own declaration means for evidence."""

    view: StandingView
    declared: str
    answers: tuple[Answer, ...]
    endpoints: tuple[EndpointPanel, ...]


def standing_panel(view: StandingView) -> StandingPanel:
    return StandingPanel(
        view=view,
        declared=words.declared(view.declared),
        answers=answers(view.questions, development=view.development),
        endpoints=tuple(
            EndpointPanel(
                words.endpoint(one.endpoint),
                one.overall,
                one.verification_id,
                one.checked_at,
                one.error,
            )
            for one in view.endpoints
        ),
    )


def answers(questions: Mapping[str, str], *, development: bool) -> tuple[Answer, ...]:
    return tuple(
        Answer(name, _(title), marked(questions[name], development))
        for name, title in QUESTIONS.items()
        if name in questions
    )


def progress(view: StandingView, asked: int, *, running: bool) -> str:
    """`waiting` or `running` while a check that was asked for is under way, `done` after it,
    `late` where it does not come; "" where nobody asked (`asked` in unix seconds, 0 = nobody).
    """
    if running:
        return "running"
    if not asked:
        return ""
    tried = int(view.tried_at.timestamp()) if view.tried_at else 0
    if tried >= asked:
        return "done"
    return "waiting" if int(timezone.now().timestamp()) - asked < WAIT_SECONDS else "late"


@dataclass(frozen=True)
class Badge:
    """A picture of a provider's state, and how others embed it."""

    label: str
    path: str
    markdown: str
    html: str


def badges(site: str, provider: str, page: str) -> tuple[Badge, ...]:
    """The verdict and the uptime; `site` and `page` are where links lead."""
    named = ((_("Present verdict"), ""), (_("Present uptime"), "?show=uptime"))
    found = []
    for label, query in named:
        path = f"/badge/{provider}.svg{query}"
        alt = f"0G Market: {formats.within(label)}"
        found.append(
            Badge(
                label,
                path,
                f"[![{alt}]({site}{path})]({site}{page})",
                f'<a href="{escape(site + page)}"><img src="{escape(site + path)}" alt="{alt}" '
                'height="20"></a>',
            )
        )
    return tuple(found)


@dataclass(frozen=True)
class VerificationTab:
    """`path`: where a check is asked for; `problem`: why it was not queued; `held`: neuron that
    the visitor could retrieve where the evidence is wrong, at `retrieve_path`."""

    service: ServiceHead
    standing: StandingPanel
    findings: tuple[FindingRow, ...]
    entries: tuple[HistoryEntry, ...]
    pager: Pager
    path: str
    poll: str
    badges: tuple[Badge, ...]
    progress: str
    problem: str
    held: int
    retrieve_path: str


# --- /verify --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Side:
    """One of the three comparisons of an answer. `state`: same, differs or unknown."""

    title: str
    state: str
    ours: str
    signed: str
    missing: str


@dataclass(frozen=True)
class AnswerRow:
    """`verdict` is "" where hashes without bytes equal what was signed; `signed` says it then.
    `model_said`: by whose word it is this model."""

    verdict: str
    signed: str
    words: str
    provider: str
    provider_path: str
    answer_id: str
    model: str
    model_said: str
    scheme: str
    sides: tuple[Side, ...]


#: Here somebody brought the bytes, and the chain is asked whom it names now.
_BROUGHT = {
    "hashes_match": gettext_noop(
        "The key that the chain names now signed exactly this request and this answer."
    ),
    "request_differs": gettext_noop(
        "The answer is signed, but for another request than the one that you brought."
    ),
    "answer_differs": gettext_noop(
        "The provider’s key signed, but for different text: either what you brought is not the "
        "answer exactly as it came, or the provider sent other text than it signed. Do not rely "
        "on this answer."
    ),
    "signer_unacknowledged": gettext_noop("The network’s owner does not accept this signer now."),
    "wrong_signer": gettext_noop(
        "Another key than the one that the chain names now made this signature. Do not rely on it, "
        "unless the changes of the provider show that the chain named it when the answer came."
    ),
    "unusable": gettext_noop("What came as a signature is none."),
}


def answer_row(found: Checked, provider_path: str) -> AnswerRow:
    result = found.result
    said = _(_BROUGHT.get(result.reason) or message_words.verdict(result.reason))
    if found.verdict == "not_comparable" and not found.complete:
        cut = _("This answer was stopped or cut off.")
        said = f"{cut} {_(message_words.verdict('not_received_whole'))}"
    elif found.shown == "others":
        said = _(
            "The key that the chain names signed the bytes in this file, but the words that the "
            "file shows beside them are others: whoever wrote the file changed them. Do not rely "
            "on what it shows."
        )
    elif found.shown == "unread" and not found.verdict:
        said = _(
            "The key that the chain names signed exactly the bytes of this request and this "
            "answer. The file is too long to hold the words that it shows against them."
        )
    elif not found.verdict and found.bytes_held:
        said = _(
            "The pictures that this request made have exactly the SHA-256 that the key which the "
            "chain names signed, and so has the request; its bytes are not in the file. That says "
            "nothing of other pictures in this archive."
        )
    elif not found.verdict:
        said = _(
            "The key that the chain names signed exactly the two SHA-256 in this file. The bytes "
            "are not in it: what you read, see or hear is proven where its bytes have these hashes."
        )
    elif found.verdict == "not_comparable" and found.signer_ok:
        said = _(
            "The key that the chain names signed an answer under this id. Bring request and answer "
            "to see whether they are what it signed."
        )
    # The listing may keep silent about what the signature itself admits.
    if found.verdict in ("verified", "") and (found.routing or result.scheme == "routing"):
        routed = _(
            "It is a routing proof: it shows which upstream was asked, not how the model ran."
        )
        said = f"{said} {routed}"
    return AnswerRow(
        verdict=found.verdict,
        signed=_("Pictures as signed")
        if found.bytes_held
        else _("Bytes signed, words not compared")
        if found.shown == "unread"
        else _("Hashes signed, bytes not brought"),
        words=said,
        provider=found.provider,
        provider_path=provider_path,
        answer_id=found.answer_id,
        model=result.signed_model or found.model,
        model_said=_("signed")
        if result.signed_model
        else _("by the word of what you brought")
        if found.named
        else _("as the provider lists it now"),
        scheme=result.scheme,
        sides=(
            _side(gettext_noop("Request"), found.our_request, result.signed_request),
            _side(gettext_noop("Answer"), found.our_response, result.signed_response),
            _side(gettext_noop("Signer"), result.expected_signer, result.signer, fold=True),
        ),
    )


def _side(title: str, ours: str, signed: str, *, fold: bool = False) -> Side:
    known = bool(ours and signed)
    same = ours.lower() == signed.lower() if fold else ours == signed
    state = "unknown" if not known else "same" if same else "differs"
    return Side(title, state, ours, signed, _("not brought") if not ours else _("not readable"))


@dataclass(frozen=True)
class VerifyPage:
    """`tab`: `answer`, or "" for evidence; `values`: what was typed, to be kept; `unsaid`: answers
    that were brought and could not be judged."""

    tab: str = ""
    error: str = ""
    values: Mapping[str, str] = field(default_factory=dict)
    answers: tuple[AnswerRow, ...] = ()
    unsaid: int = 0

    @property
    def tabs(self) -> tuple[Link, ...]:
        answer = self.tab == "answer"
        return (
            Link(_("A file or report"), "/verify", not answer),
            Link(_("One answer"), "/verify?what=answer", answer),
        )
