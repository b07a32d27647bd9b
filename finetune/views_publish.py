"""Publishing a dataset in 0G storage: its review, the wallet's doors, and how far it is.

The doors have the shape of the transaction centre's (`accounts.views_transactions`), but this is
none of its actions: it goes to storage's contract, which is shown beside what it costs.
"""

from __future__ import annotations

from uuid import UUID

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from accounts import intents, limits
from accounts import pages_transaction as shown
from accounts.errors import NodeError, Problem
from accounts.http import signed_out, uuid_of
from accounts.problems import answer, body_of, of_node, text_of
from finetune import drafts, pages, publishing, tasks
from finetune.models import Dataset, PlaceState
from finetune.views_doors import dataset_of, signing
from net import queue


@require_http_methods(["GET", "POST"])
@never_cache
def publish(request: HttpRequest, dataset_id: UUID) -> HttpResponse:
    """The review, or how far it is (`part=state`). POST goes on with a file that storage knows."""
    if not request.user.is_authenticated:
        return signed_out(request, _("Publish a dataset"))
    dataset = dataset_of(request, dataset_id)
    limits.spend("publish", dataset.user.address, limit=120, seconds=60)
    if request.method == "POST":
        try:
            place = publishing.go_on(dataset)
        except Problem as problem:
            return _render(request, dataset, problem, status=problem.status)
        if place is not None:
            queue.put(tasks.send, place.pk)
        return HttpResponseRedirect(request.get_full_path())
    return _render(request, dataset, None)


def _render(
    request: HttpRequest, dataset: Dataset, problem: Problem | None, status: int = 200
) -> HttpResponse:
    page = _page(dataset, problem)
    draft = uuid_of(request.GET.get("draft", ""))
    owned = draft is not None and drafts.of(dataset.user).filter(pk=draft).exists()
    context = {"page": page, "back": f"/fine-tuning/new/{draft}/sign" if owned else ""}
    part = "#state" if request.GET.get("part") == "state" else ""
    return render(request, f"finetune/publish.html{part}", context, status=status)


def _page(dataset: Dataset, problem: Problem | None) -> pages.PublishPage:
    place = publishing.place_of(dataset)
    state = place.state if place else ""
    page = pages.PublishPage(dataset, place)
    goes_on = page.moving and dataset.file is not None
    if problem is None and (goes_on or state == PlaceState.THERE):
        return page
    try:
        if problem is not None:
            raise problem
        info = publishing.known(dataset)
        if info is not None:
            if not (dataset.file or info.complete):
                raise Problem(
                    "dataset_gone",
                    _("Its bytes were deleted here before all were handed over."),
                    _("Bring the same file once more: there is nothing to pay again."),
                )
            if place is not None and publishing.given_up(place):
                place.error = ""  # which says that it has not come
            return pages.PublishPage(dataset, place, known=True)
        found = publishing.announcement(dataset, dataset.user.address)
    except Problem as error:
        return pages.PublishPage(dataset, place, problem=error.said)
    except NodeError as error:
        return pages.PublishPage(dataset, place, problem=of_node(error, looking=True).said)
    after = found.wallet - found.fee - found.gas_cost
    effects = (
        {"what": "wallet", "before": str(found.wallet), "after": str(after)},
        {"what": "gas", "before": "0", "after": str(found.gas_cost)},
    )
    return pages.PublishPage(
        dataset, place, flow=found.to, fee=found.fee, rows=shown.effect_rows(effects)
    )


@signing(dataset_of)
def confirm(request: HttpRequest, dataset: Dataset) -> HttpResponse:
    """`{seen?, again?}` → what `eth_sendTransaction` takes; it waits for the wallet now. `seen`:
    the fee that was reviewed, in neuron."""
    body = body_of(request)
    again, fee = body.get("again") is True, str(body.get("seen", ""))
    try:
        found = publishing.confirm(dataset, dataset.user.address, fee=fee, again=again)
    except NodeError as error:
        place = publishing.place_of(dataset)
        asked = place is not None and place.nonce_floor is not None
        raise of_node(error, looking=asked) from None
    return answer(
        {
            "transaction": {
                "from": dataset.user.address,
                "to": found.to,
                "data": found.data,
                "value": hex(found.fee),
                "gas": hex(found.gas),
            }
        }
    )


@signing(dataset_of)
def submitted(request: HttpRequest, dataset: Dataset) -> HttpResponse:
    """`{tx_hash}`: the wallet has sent it, and a worker hands the segments over."""
    place = publishing.submitted(dataset, text_of(body_of(request), "tx_hash", limit=66))
    queue.put(tasks.send, place.pk)
    return answer({"state": place.state})


@signing(dataset_of)
def rejected(request: HttpRequest, dataset: Dataset) -> HttpResponse:
    """`{declined, handed?}`: the person declined, or the wallet gave an error, or (not `handed`)
    it was not handed over."""
    publishing.rejected(dataset, **intents.refusal(body_of(request)))
    return answer({"state": PlaceState.FAILED})
