"""A tuned model is deployed where its base model is served, and chatted with there.

A fine-tuning provider hands models over to inference providers of its choice, and names none: its
owner asks one. Who may use the model is for that provider to check; here it is written down what it
said, and when.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from urllib.parse import urlencode

from asgiref.sync import async_to_sync, sync_to_async
from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as N_

from accounts import keys, links, money
from accounts.crypto import Unreadable
from accounts.errors import Problem
from accounts.preview_money import PROVIDER_RESERVE
from attestation import selectors as attestation
from attestation.selectors import ServiceKey, StandingView
from finetune import adapters, follow
from finetune.errors import BrokerError, BrokerRefused
from finetune.models import Deployment, Task
from ledger import selectors as ledger
from ledger.models import Kind
from ledger.records import Listing, Position
from protocol import tuning

MOST_PLACES = 10
#: Between two looks while something happens, and how long that is waited for.
PAUSE, DEVNET_PAUSE = dt.timedelta(seconds=10), dt.timedelta(seconds=2)
WAITS = dt.timedelta(minutes=15)
BATCH = 12


@dataclass(frozen=True)
class Place:
    """An inference provider of the base model, as the task's page shows it."""

    listing: Listing
    standing: StandingView
    position: Position | None
    deployment: Deployment | None
    name: str

    @property
    def waits(self) -> bool:
        return self.deployment is not None and self.deployment.look_next is not None

    @property
    def active(self) -> bool:
        return self.deployment is not None and self.deployment.state == adapters.ACTIVE

    @property
    def path(self) -> str:
        return links.service(self.listing)

    @property
    def top_up(self) -> str:
        """The form that transfers money to it, for inference: twice what brokers keep in reserve,
        so that the first answers can be paid."""
        return links.form("transfer", self.listing, amount=money.exact(2 * PROVIDER_RESERVE))

    @property
    def asked_as(self) -> str:
        """What a program writes as `model` (docs/relay.md)."""
        return f"{self.name}@{self.listing.provider}"

    @property
    def chat(self) -> str:
        """The chat with the tuned model and its base model side by side."""
        provider = self.listing.provider
        query = {"provider": provider, "adapter": self.asked_as}
        return "/playground/chat?" + urlencode(query)


def name_of(task: Task) -> str:
    """What the tuned model is called at inference providers."""
    return tuning.adapter_name(task.model, str(task.remote_id))


def places(task: Task) -> tuple[Place, ...]:
    """Who serves the base model, those asked before first (as many queries for one as for ten)."""
    query = ledger.ServiceQuery(kind=Kind.INFERENCE.value, model=task.model)
    found = ledger.services(query, page_size=MOST_PLACES).items
    known = {row.provider: row for row in task.deployments.all()}
    standings = attestation.standings([ServiceKey.of(listing) for listing in found])
    positions = ledger.account(task.user.address).positions
    held = {(one.provider, one.serving): one for one in positions}
    rows = [
        Place(
            listing,
            standings[ServiceKey.of(listing)],
            held.get((listing.provider, listing.serving)),
            known.get(listing.provider),
            name_of(task),
        )
        for listing in found
        if listing.model == task.model and listing.tee_signer_acknowledged
    ]
    return tuple(sorted(rows, key=lambda row: row.deployment is None))


def want(task: Task, provider: str) -> Deployment:
    """Write down that the task's model is to be deployed at an inference provider; a worker asks
    there (`look`). Raises Problem."""
    listing = ledger.service(Kind.INFERENCE, provider)
    if listing is None or listing.model != task.model:
        raise Problem("unknown_service", _("This provider does not serve the base model."))
    if task.progress != tuning.FINISHED:
        raise Problem("not_finished", _("The result is not settled yet."), status=409)
    if keys.usable(task.user, listing.provider, timezone.now()) is None:
        raise Problem(
            "no_key", _("You have no key for this provider."), _("Make one first."), status=409
        )
    now = timezone.now()
    row, _created = Deployment.objects.update_or_create(
        task=task,
        provider=listing.provider,
        defaults={
            "serving": listing.serving,
            "url": listing.url,
            "error": "",
            "asked_at": now,
            "look_next": now + follow.CLAIM,
        },
    )
    return row


def look_at_due() -> int:
    """Ask after every deployment that is due; how many. Two at once share them."""
    rows = Deployment.objects.select_related("task__user")
    found = follow.claimed(rows, timezone.now(), BATCH)
    follow.together(map(_look, found))
    return len(found)


def look(row: Deployment) -> None:
    """Ask once, say that it is to be loaded where it waits for that, and write down what was
    said."""
    async_to_sync(_look)(row)


async def _look(row: Deployment) -> None:
    now = timezone.now()
    write = sync_to_async(_write)
    key = await sync_to_async(keys.usable)(row.task.user, row.provider, now)
    try:
        if key is None:
            raise BrokerRefused(401, N_("Your key for this provider has expired: ask once more"))
        state, why = await _ask(row, key.bearer())
    except (BrokerError, Unreadable) as error:
        final = isinstance(error, BrokerRefused) and error.status in (401, 403)
        await write(row, row.state, str(error), now, ended=final)
    else:
        ended = state in (adapters.ACTIVE, adapters.FAILED)
        await write(row, state, why, now, ended=ended, told=True)


async def _ask(row: Deployment, authorization: str) -> tuple[str, str]:
    task, name = row.task, name_of(row.task)
    async with adapters.connected(row.url, authorization) as server:
        state, why = await server.state(name)
        if state in adapters.DEPLOYABLE:
            await server.deploy(name, str(task.remote_id), task.model)
            return await server.state(name)
        return state, why


def _write(
    row: Deployment, state: str, why: str, now: dt.datetime, *, ended: bool, told: bool = False
) -> None:
    late = now - row.asked_at > WAITS
    pause = DEVNET_PAUSE if settings.IS_DEVNET else PAUSE
    # Not over a wish that was made again meanwhile: that one is asked for by itself.
    Deployment.objects.filter(pk=row.pk, asked_at=row.asked_at).update(
        state=state,
        error=why[:400],
        look_next=None if ended or late else now + pause,
        **({"told_at": now} if told else {}),
    )
    if (state, why[:400]) != (row.state, row.error) or ended or late:
        follow.tell(row.task)
