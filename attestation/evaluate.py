"""From a listing to finished runs: ask each endpoint, gather what the vendors add, judge."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.utils import timezone

from attestation import asking, declared, runs, trust, verify
from attestation.asking import Asked
from attestation.cache import StoredAnswers
from attestation.challenge import challenge
from attestation.declared import Declared, EndpointName
from attestation.engine import exchange
from attestation.engine.evidence import Context, Evidence
from attestation.engine.verdicts import FAIL, NOT_CHECKED, NOT_PROVIDED, WARN, Report, Verdict
from attestation.models import Endpoint, Outcome, Trigger
from attestation.runs import Draft
from attestation.selectors import EXPIRED_AFTER, ServiceKey
from attestation.sources.collect import collect
from attestation.sources.records import Note
from net.client import Client
from net.marks import N_
from protocol.abi import ZERO_ADDRESS

#: Services without evidence that we could judge: the verdict's word, and why.
_LABELS: Mapping[str, tuple[Verdict, str]] = {
    "standard": (NOT_PROVIDED, N_("a standard provider: no TEE, nothing is signed or attested")),
    "opml": (NOT_CHECKED, N_("OpML: declared, not verifiable here yet")),
    "zkml": (NOT_CHECKED, N_("ZKML: declared, not verifiable here yet")),
}


@dataclass(frozen=True)
class Target:
    """A listing as the chain held it at `block`, and what it declares about itself."""

    key: ServiceKey
    block: int
    url: str
    model: str
    verifiability: str
    additional_info: str
    signer: str
    #: None: nobody was asked, as for what is not published yet.
    acknowledged: bool | None
    declared: Declared
    #: What `challenge.challenge` needs of the listing.
    payable: Mapping[str, Any]

    def onchain_signer(self, endpoint: EndpointName) -> str | None:
        """Who has to hold the attested key. A separated model's is named beside the broker's, in
        text that the owner's acknowledgement covers; None where it is not.
        """
        if endpoint == "model":
            return self.declared.model_signer or None
        return self.signer or ZERO_ADDRESS


async def every_endpoint(client: Client, target: Target, trigger: Trigger) -> list[Draft]:
    """One finished run for each endpoint, or one that only says what the service is."""
    if not target.declared.endpoints:
        return [_labelled(target, trigger)]
    return [await _one(client, target, name, trigger) for name in target.declared.endpoints]


async def _one(client: Client, target: Target, endpoint: EndpointName, trigger: Trigger) -> Draft:
    started, nonce = timezone.now(), asking.fresh_nonce()
    url = asking.evidence_url(target.url, endpoint, target.model, nonce)
    asked = await asking.ask(client, url, nonce)
    known = _known(target, endpoint, asked)
    draft = Draft(
        endpoint=Endpoint(endpoint),
        trigger=trigger,
        started_at=started,
        finished_at=started,
        outcome=Outcome.UNREACHABLE,
        context=known,
        report=Report("none", development=known.anchors.development),
        columns=_columns(target, asked),
    )
    if asked.body is None:
        finished = replace(draft, finished_at=timezone.now(), mute=asked.mute)
        return _without_evidence(finished, asked) if asked.refused else finished
    found = await judged(replace(draft, evidence=Evidence("report", asked.body)))
    return await _challenged(client, target, endpoint, found)


async def judged(draft: Draft) -> Draft:
    """The draft with what the vendors' services add, and its verdict."""
    evidence = draft.evidence
    assert evidence is not None
    now, cache = draft.context.now, StoredAnswers()
    gathered = await collect(evidence, now=now, sources=trust.sources(), cache=cache)
    context = replace(draft.context, **gathered.context)
    return replace(
        draft,
        outcome=Outcome.JUDGED,
        context=context,
        report=await _judge(evidence, context),
        references=gathered.references,
        notes=gathered.notes,
        finished_at=timezone.now(),
    )


async def _challenged(
    client: Client, target: Target, endpoint: EndpointName, draft: Draft
) -> Draft:
    """The draft with an exchange with its key, where the evidence itself has no nonce (13.3).

    Only the key that signs answers can be challenged: a separated model's, not its broker's.
    """
    nonce = draft.report.find("bind.nonce")
    signs = endpoint == "model" or target.declared.word != "separated"
    if nonce is None or nonce.verdict != WARN or not signs:
        return draft
    genuine = draft.report.passed("tdx.pck_chain")
    if not genuine or draft.report.questions()["hardware"] == FAIL:
        return draft  # nothing is proven about this key: no money for it
    found = await _exchanged(draft, await challenge(client, target.payable, draft.trigger))
    said = found.report.find(exchange.ID)
    unsaid = (NOT_CHECKED, NOT_PROVIDED)
    if not settings.SITE_WALLET_KEY or said is None or said.verdict not in unsaid:
        return found
    # Who failed and signs nothing now did not recover, whoever asks for a run without money.
    signer, since = draft.report.facts.get("signer"), draft.started_at - EXPIRED_AFTER
    failed = await sync_to_async(runs.failed_exchange)(target.key, endpoint, signer, since)
    if failed is None:
        return found
    text = f"of {failed['at']}; of no later one it was seen who signs: {said.detail}"
    note = Note(source="challenge", key=exchange.ID, text=text)
    return replace(await _exchanged(draft, failed), notes=(*draft.notes, note))


async def _exchanged(draft: Draft, found: Mapping[str, Any]) -> Draft:
    """The draft judged with an exchange with its key."""
    context = replace(draft.context, challenge=found)
    assert draft.evidence is not None
    return replace(
        draft,
        context=context,
        report=await _judge(draft.evidence, context),
        finished_at=timezone.now(),
    )


async def _judge(evidence: Evidence, context: Context) -> Report:
    """In a thread: below a view this loop is the server's own, and a large report takes a while."""
    return await asyncio.to_thread(verify.judge, evidence, context)


def _known(target: Target, endpoint: EndpointName, asked: Asked) -> Context:
    """What we know ourselves, before anybody else is asked."""
    return Context(
        now=int(time.time()),
        anchors=trust.anchors(),
        policy=trust.policy(),
        onchain_signer=target.onchain_signer(endpoint),
        acknowledged=target.acknowledged,
        nonce=asked.nonce,
        accepts_nonce=endpoint in settings.ATTESTATION_NONCE_ENDPOINTS,
        tls_fingerprint=asked.tls_fingerprint or None,
        body_signature=asked.body_signature if endpoint == "broker" else None,
        # Declared of the broker: a separated model's machine runs something else.
        declared_images=declared.images(target.additional_info) if endpoint == "broker" else (),
    )


def _without_evidence(draft: Draft, asked: Asked) -> Draft:
    """The provider answered and handed over nothing: its verdict is `not_provided`."""
    draft.report.add(
        "report.shape",
        N_("Report"),
        N_("The provider hands over evidence"),
        NOT_PROVIDED,
        expected="status 200 with a report",
        got=asked.error,
        source=asked.url.split("?")[0],
    )
    return replace(draft, outcome=Outcome.REFUSED, overall=NOT_PROVIDED)


def _labelled(target: Target, trigger: Trigger) -> Draft:
    """A service that is not failed for lacking what it never claimed."""
    verdict, words = _LABELS[target.declared.word]
    now = timezone.now()
    context = Context(
        now=int(now.timestamp()),
        anchors=trust.anchors(),
        onchain_signer=target.signer or ZERO_ADDRESS,
        acknowledged=target.acknowledged,
    )
    report = Report("none", development=False)
    report.add(
        "service.kind",
        N_("Service"),
        N_("What the service declares"),
        verdict,
        got=words,
        source="the chain's listing",
    )
    return Draft(
        endpoint=Endpoint.BROKER,
        trigger=trigger,
        started_at=now,
        finished_at=now,
        outcome=Outcome.JUDGED,
        context=context,
        report=report,
        overall=verdict,
        columns=_columns(target, Asked(url="", nonce="")),
    )


def _columns(target: Target, asked: Asked) -> dict[str, Any]:
    return {
        "kind": target.key.kind,
        "provider": target.key.provider,
        "service_name": target.key.service_name,
        "block": target.block,
        "additional_info": target.additional_info,
        "declared": target.declared.word,
        "url": asked.url,
        "status": asked.status,
        "headers": dict(asked.headers),
        "http_date": asked.moment,
        "error": asked.error,
    }
