"""Doors for scripts: pieces of datasets, and what the wallet signs. JSON in, JSON out."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Any, TypeVar
from uuid import UUID

from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts import limits, money
from accounts.errors import Problem
from accounts.http import user_of
from accounts.models import User
from accounts.problems import answer, body_of, json_door, signed_in, text_of
from finetune import (
    deploying,
    drafts,
    files,
    follow,
    problems,
    results,
    services,
    tasks,
    wizard,
)
from finetune.errors import BrokerError, BrokerRefused
from finetune.models import Dataset, Draft, Task
from finetune.views import task_of
from ledger import selectors as ledger
from net import queue
from protocol import tuning

_SIGNATURE = 300
#: Pieces of datasets that one network address may bring in a day, 2 GB: a wallet has a quota, but
#: anybody has as many wallets as they like, and the disk is everybody's.
PIECES_A_DAY = 2_048
Own = TypeVar("Own")
Door = Callable[[HttpRequest, Own], HttpResponse]
View = Callable[..., HttpResponse]


# --- datasets -------------------------------------------------------------------------------------


@require_POST
@signed_in
@json_door
def begin(request: HttpRequest) -> HttpResponse:
    """`{name, size}` → `{id, state, piece_bytes, missing}`."""
    user, body = user_of(request), body_of(request)
    limits.spend("datasets", user.address, limit=60, seconds=600)
    size = body.get("size")
    if isinstance(size, bool) or not isinstance(size, int):
        raise Problem("invalid_request", "`size` must be a number of bytes.")
    dataset = services.begin(user, text_of(body, "name", limit=500), size)
    return answer(_upload(dataset), status=201)


def dataset_of(request: HttpRequest, dataset_id: UUID) -> Dataset:
    rows = Dataset.objects.select_related("file", "user")
    return get_object_or_404(rows, pk=dataset_id, user=user_of(request))


def _upload(dataset: Dataset) -> dict[str, Any]:
    rest = files.missing(dataset.file) if dataset.file else []
    return {
        "id": str(dataset.pk),
        "state": dataset.state,
        "piece_bytes": files.PIECE_BYTES,
        "missing": rest,
    }


@require_GET
@signed_in
@json_door
def uploaded(request: HttpRequest, dataset_id: UUID) -> HttpResponse:
    """What is still missing: an upload goes on where it was cut off."""
    return answer(_upload(dataset_of(request, dataset_id)))


@require_http_methods(["PUT"])
@signed_in
@json_door
def piece(request: HttpRequest, dataset_id: UUID, number: int) -> HttpResponse:
    """The bytes of one piece, as they are."""
    dataset = dataset_of(request, dataset_id)
    limits.spend("pieces", dataset.user.address, limit=600, seconds=60)
    limits.spend("pieces-from", limits.address(request), limit=PIECES_A_DAY, seconds=24 * 3600)
    services.put(dataset, number, request.body)
    return answer({"number": number})


@require_POST
@signed_in
@json_door
def finish(request: HttpRequest, dataset_id: UUID) -> HttpResponse:
    dataset = dataset_of(request, dataset_id)
    services.finish(dataset)
    queue.put(tasks.check, str(dataset.pk))
    dataset.refresh_from_db()
    return answer(_upload(dataset))


@require_POST
def drop(request: HttpRequest, dataset_id: UUID) -> HttpResponse:
    """Away with its bytes, or (`forget`) with what is known of a published one; the second of two
    clicks finds nothing and does nothing."""
    user = user_of(request)
    if Dataset.objects.filter(pk=dataset_id).exclude(user=user).exists():
        raise Http404("somebody else's")
    found = user.datasets.select_related("file").filter(pk=dataset_id).first()
    if found is not None:
        services.drop(found, forget="forget" in request.POST)
    return HttpResponseRedirect("/fine-tuning#datasets")


# --- signatures -----------------------------------------------------------------------------------


def _draft(request: HttpRequest, draft_id: UUID) -> Draft:
    return drafts.one(user_of(request), draft_id)


@require_POST
def drop_draft(request: HttpRequest, draft_id: UUID) -> HttpResponse:
    """Away with it, and to where that can be undone; the second of two clicks too."""
    drafts.delete(get_object_or_404(Draft, pk=draft_id, user=user_of(request)))
    return HttpResponseRedirect(f"/fine-tuning?deleted={draft_id}")


@require_POST
def undo_draft(request: HttpRequest, draft_id: UUID) -> HttpResponse:
    if not drafts.bring_back(user_of(request), draft_id):
        raise Http404(_("It is too late to undo this."))
    return HttpResponseRedirect("/fine-tuning")


def signing(load: Callable[[HttpRequest, UUID], Own]) -> Callable[[Door[Own]], View]:
    """A door that prepares or takes a signature about something of the person's own (`load` raises
    Http404 or Problem): JSON, counted."""

    def of(view: Door[Own]) -> View:
        @require_POST
        @signed_in
        @json_door
        @wraps(view)
        def door(request: HttpRequest, **named: UUID) -> HttpResponse:
            (identifier,) = named.values()
            found = load(request, identifier)
            limits.spend("tuning-sign", user_of(request).address, limit=30, seconds=60)
            return view(request, found)

        return door

    return of


def _field(name: str, value: str) -> dict[str, str]:
    return {"name": name, "value": value}


@signing(_draft)
def prepare_upload(request: HttpRequest, draft: Draft) -> HttpResponse:
    """→ what is signed so that the provider takes the dataset: `{digest, timestamp, fields}`."""
    if draft.dataset is None:
        raise Problem(
            "no_dataset", _("There is nothing to send: the provider reads it by its root.")
        )
    now = int(time.time())
    return answer(
        {
            "digest": "0x" + tuning.upload_hash(draft.user.address, now).hex(),
            "timestamp": now,
            "raw": f"{draft.user.address}{now}",
            "scope": _("Lets this provider take one dataset from you within five minutes."),
            "fields": [
                _field(_("To provider"), draft.provider),
                _field(_("Dataset"), draft.dataset.name),
                _field(_("Signed by"), draft.user.address),
            ],
        }
    )


@signing(_draft)
def upload(request: HttpRequest, draft: Draft) -> HttpResponse:
    """`{signature, timestamp}`: a worker sends the dataset."""
    body = body_of(request)
    listing = wizard.listing_of(draft)
    if draft.dataset is None or listing is None:
        raise Problem(
            "draft_changed", _("The draft has changed since."), _("Look at it once more.")
        )
    signature = text_of(body, "signature", limit=_SIGNATURE)
    place = services.send_to(
        draft.dataset, draft.provider, listing.url, signature, _timestamp(body)
    )
    queue.put(tasks.send, place.pk)
    return answer({"state": place.state})


def _timestamp(body: dict[str, Any]) -> int:
    value = body.get("timestamp")
    if isinstance(value, bool) or not isinstance(value, int):
        raise Problem("invalid_request", "`timestamp` must be Unix seconds.")
    return value


@require_GET
@signed_in
@json_door
def sending(request: HttpRequest, draft_id: UUID) -> HttpResponse:
    """How far the dataset has come: `{state, sent, size, error}`."""
    draft = _draft(request, draft_id)
    place = wizard.sending_of(draft)
    if place is None or draft.dataset is None:
        return answer({"state": "", "sent": 0, "size": 0, "error": ""})
    return answer(
        {
            "state": place.state,
            "sent": place.sent,
            "size": draft.dataset.size,
            "error": problems.told(place.error),
        }
    )


@signing(_draft)
def prepare_task(request: HttpRequest, draft: Draft) -> HttpResponse:
    """→ the 32 bytes that create the task, decoded: `{digest, nonce, raw, fields, scope}`."""
    wanted = wizard.prepare(draft)
    return answer(
        {
            "digest": wanted.digest,
            "nonce": str(wanted.nonce),
            "raw": f"{draft.user.address}\nnonce {wanted.nonce}\ndataset {wanted.dataset_hash}",
            "scope": _(
                "Creates one task. The fee is counted by the provider and charged when the "
                "result is settled, from your fine-tuning balance there."
            ),
            "fields": [
                _field(_("Provider"), draft.provider),
                _field(_("Model"), draft.model),
                _field(_("Dataset"), wanted.dataset_hash),
                _field(_("Nonce"), str(wanted.nonce)),
                _field(
                    _("Price (not signed)"),
                    _("%(price)s 0G per 1M tokens and epoch")
                    % {"price": money.told(wanted.price * 10**6)},
                ),
                _field(_("Settings (not signed)"), " ".join(draft.parameters.split())),
            ],
        }
    )


@signing(_draft)
def create(request: HttpRequest, draft: Draft) -> HttpResponse:
    """`{signature, nonce?, wait?}` → `{url}` of the task; `wait`: queue it where the provider is
    busy."""
    body = body_of(request)
    if body.get("wait") is True:
        draft.wait = True
    signature, nonce = text_of(body, "signature", limit=_SIGNATURE), body.get("nonce", "")
    made = wizard.create(draft, signature, str(nonce))
    return answer({"url": f"/fine-tuning/tasks/{made.pk}"}, status=201)


@signing(task_of)
def prepare_cancel(request: HttpRequest, found: Task) -> HttpResponse:
    return answer(
        {
            "digest": "0x" + tuning.cancel_hash(str(found.remote_id)).hex(),
            "raw": found.remote_id.hex,
            "scope": _("Cancels this task. Nothing was charged yet and nothing will be."),
            "fields": [
                _field(_("Provider"), found.provider),
                _field(_("Task"), str(found.remote_id)),
                _field(_("Model"), found.model),
            ],
        }
    )


@signing(task_of)
def cancel(request: HttpRequest, found: Task) -> HttpResponse:
    """`{signature}`: cancelled, or the provider's reason why not."""
    body = body_of(request)
    try:
        follow.cancel(found, text_of(body, "signature", limit=_SIGNATURE))
    except BrokerRefused as error:
        raise problems.said(error) from None
    except BrokerError as error:
        raise problems.silent("provider_silent", error, _("Try again.")) from None
    return answer({"url": f"/fine-tuning/tasks/{found.pk}"})


@signing(task_of)
def prepare_fetch(request: HttpRequest, found: Task) -> HttpResponse:
    now = int(time.time())
    return answer(
        {
            "digest": "0x" + tuning.download_hash(str(found.remote_id), now).hex(),
            "timestamp": now,
            "raw": f"{found.remote_id.hex}{now}",
            "scope": _(
                "Lets the provider hand out this result, still encrypted, for five minutes."
            ),
            "fields": [
                _field(_("Provider"), found.provider),
                _field(_("Task"), str(found.remote_id)),
            ],
        }
    )


@signing(task_of)
def fetch(request: HttpRequest, found: Task) -> HttpResponse:
    """`{signature, timestamp}` from the provider, `{}` from 0G storage: a worker fetches it."""
    body = body_of(request)
    signature, signed_at = "", 0
    if body.get("from") == "storage":
        results.ask_storage(found)
    else:
        signature, signed_at = text_of(body, "signature", limit=_SIGNATURE), _timestamp(body)
        results.ask(found, signature, signed_at)
    # Beat knows no signature: what no worker hears of now has not begun.
    if not queue.put(tasks.fetch, str(found.pk), signature, signed_at):
        raise results.not_begun(found)
    return answer({"state": results.State.FETCHING})


@signing(task_of)
def deploy(request: HttpRequest, found: Task) -> HttpResponse:
    """`{provider}`: a worker has the tuned model deployed at an inference provider."""
    provider = ledger.address_of(text_of(body_of(request), "provider", limit=42))
    if provider is None:
        raise Problem("invalid_request", "`provider` must be an address.")
    row = deploying.want(found, provider)
    queue.put(tasks.deploy, row.pk)
    return answer({"state": row.state})


@require_POST
def clone(request: HttpRequest, task_id: UUID) -> HttpResponse:
    """A draft with everything that this task had: the one that there is, where it was changed by
    nobody since, as after a second press."""
    found = task_of(request, task_id)
    had = {
        "provider": found.provider,
        "serving": found.serving,
        "service_name": found.service_name,
        "model": found.model,
        "dataset": found.dataset,
        "parameters": found.parameters,
        "dataset_hash": "" if found.dataset else found.dataset_hash,
    }
    with transaction.atomic():
        User.objects.select_for_update().get(pk=found.user_id)
        draft = drafts.of(found.user).filter(**had, wait=False, pending__isnull=True).first()
        if draft is None:
            draft = wizard.begin(found.user)
            for name, value in had.items():
                setattr(draft, name, value)
            draft.save()
    return HttpResponseRedirect(f"/fine-tuning/new/{draft.pk}/config")


@require_POST
def delete_result(request: HttpRequest, task_id: UUID) -> HttpResponse:
    """Delete what is kept of its result here."""
    found = task_of(request, task_id)
    with suppress(Problem):  # it is being fetched: the page says so
        results.delete(found)
    return HttpResponseRedirect(f"/fine-tuning/tasks/{found.pk}#result")


@require_POST
def put_away(request: HttpRequest, task_id: UUID) -> HttpResponse:
    """Off its owner's list, or (`back`) onto it again; nothing else changes, here or anywhere."""
    found = task_of(request, task_id)
    if "back" in request.POST:
        Task.objects.filter(pk=found.pk).update(put_away_at=None)
    elif found.idle:
        Task.objects.filter(pk=found.pk).update(put_away_at=timezone.now())
    return HttpResponseRedirect(f"/fine-tuning/tasks/{found.pk}")


@require_POST
def look(request: HttpRequest, task_id: UUID) -> HttpResponse:
    """Ask the provider now."""
    found = task_of(request, task_id)
    limits.spend("tuning-look", found.user.address, limit=20, seconds=60)
    follow.look(found)
    return HttpResponseRedirect(f"/fine-tuning/tasks/{found.pk}")
