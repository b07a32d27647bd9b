"""The worker's part of the chat: signatures that the web process could not get, and turns whose
process died.
"""

from __future__ import annotations

import logging
from datetime import timedelta

from asgiref.sync import async_to_sync
from celery import shared_task
from django.utils import timezone
from redis.exceptions import RedisError

from attestation import trust
from inference import attachments, conversations, hub, presets, shares, signatures, turnlog
from inference.models import State, Turn, Verdict
from net.client import Client

log = logging.getLogger(__name__)

#: Providers keep signatures for about 20 minutes; after that there is nothing to wait for.
GIVE_UP_AFTER = timedelta(minutes=20)
#: The web process asks first; the worker takes over from here.
LEFT_ALONE = timedelta(seconds=20)
BATCH = 200


@shared_task(name="inference.check_reply", expires=25)
def check_reply(turn_id: int) -> str:
    """Fetch and judge the signature of one ended turn; returns the verdict. Idempotent."""
    turn = (
        Turn.objects.filter(pk=turn_id, verdict=Verdict.PENDING).exclude(state=State.OPEN).first()
    )
    if turn is None:
        return "nothing to do"
    late = bool(turn.ended_at and turn.ended_at + GIVE_UP_AFTER < timezone.now())
    try:
        verdict: Verdict = async_to_sync(_settle)(turn_id)
    except Exception:
        # One turn that cannot be judged must not be asked about for ever.
        if not late:
            raise
        log.exception("turn %s cannot be judged", turn_id)
        verdict = Verdict.PENDING
    if verdict == Verdict.PENDING and late:
        signatures.give_up(turn)
        verdict = Verdict.UNAVAILABLE
    return str(verdict)


async def _settle(turn_id: int) -> Verdict:
    async with Client(trust.provider_policy()) as client:
        verdict = await signatures.settle(client, turn_id)
    try:
        # Its process may have died between the answer's end and this: whoever watches still waits.
        if verdict != Verdict.PENDING and await turnlog.exists(turn_id):
            await turnlog.append_after(turn_id, {"type": "verdict", "verdict": str(verdict)})
    except RedisError as error:
        log.warning("the verdict on turn %s is not told live: %s", turn_id, error)
    finally:
        await turnlog.close()
    return verdict


@shared_task(name="inference.sweep", expires=25)
def sweep() -> dict[str, int]:
    """Periodic safety net: end turns of dead processes, look after every pending verdict, delete
    what is past its time.
    """
    ended: int = async_to_sync(_reap)()
    purged = conversations.purge() + presets.purge() + attachments.purge() + shares.purge()
    rows = Turn.objects.filter(verdict=Verdict.PENDING, ended_at__lt=timezone.now() - LEFT_ALONE)
    # Those asked for least often first: no provider that hangs keeps the others' waiting.
    rows = rows.exclude(state=State.OPEN).order_by("signature_tries", "pk")
    pending = list(rows.values_list("pk", flat=True)[:BATCH])
    for turn_id in pending:
        check_reply.delay(turn_id)
    return {"ended": ended, "asked": len(pending), "purged": purged}


async def _reap() -> int:
    try:
        return await hub.reap()
    finally:
        await turnlog.close()
