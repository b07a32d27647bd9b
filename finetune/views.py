"""Pages of fine-tuning: what is offered and what one has, a task, the decrypting tool."""

from __future__ import annotations

import csv
import hashlib
import io
from functools import cache
from pathlib import Path
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from accounts import funds, limits, pages_parts
from accounts import pages_transaction as shown
from accounts import selectors as accounts
from accounts.http import signed_out, user_of
from accounts.models import User
from chain import selectors as chain
from finetune import files, follow, pages, pricing, reading, results, selectors
from finetune.errors import BrokerError
from finetune.models import Task
from ledger import selectors as ledger
from ledger.models import Kind
from protocol import tuning

LEVELS = (
    ("", "Every level"),
    ("INFO", "Info and above"),
    ("WARNING", "Warnings"),
    ("ERROR", "Errors"),
)
TOOL = "zg-decrypt.py"


@require_GET
@never_cache
def index(request: HttpRequest) -> HttpResponse:
    """`/fine-tuning`: readable by anybody; tasks and datasets of whoever is signed in."""
    mine = request.user if isinstance(request.user, User) else None
    page = pages.IndexPage(
        offers=selectors.offers(),
        tasks=tuple(
            pages.TaskRow(task, pages.STAGES.get(task.progress, ""))
            for task in (selectors.tasks(mine)[:50] if mine else ())
        ),
        datasets=tuple(mine.datasets.order_by("-created_at") if mine else ()),
        drafts=tuple(mine.tuning_drafts.order_by("-updated_at")[:5] if mine else ()),
        freshness=chain.head(),
        adopted=request.GET.get("found", "")[:3],
    )
    return render(request, "finetune/index.html", {"page": page})


@require_POST
def adopt(request: HttpRequest) -> HttpResponse:
    """Look for tasks of this wallet at one provider that were made with other programs."""
    user = user_of(request)
    limits.spend("tuning-adopt", user.address, limit=20, seconds=300)
    provider = ledger.address_of(request.POST.get("provider", ""))
    listing = ledger.service(Kind.FINE_TUNING, provider) if provider else None
    found = 0
    if listing is not None:
        try:
            found = follow.adopt(user, listing)
        except BrokerError:
            return HttpResponseRedirect("/fine-tuning?found=no")
    return HttpResponseRedirect(f"/fine-tuning?found={found}")


def task_of(request: HttpRequest, task_id: UUID) -> Task:
    """One of the signed-in person's tasks; 404 for anybody else's."""
    rows = Task.objects.select_related("user", "dataset", "result").prefetch_related("passages")
    return get_object_or_404(rows, pk=task_id, user=user_of(request))


@require_GET
@never_cache
def task(request: HttpRequest, task_id: UUID) -> HttpResponse:
    """`/fine-tuning/tasks/{id}?level=WARNING`."""
    if not request.user.is_authenticated:
        return signed_out(request, "Fine-tuning task")
    page = _page(task_of(request, task_id), request.GET.get("level", ""))
    template = "finetune/task.html"
    if request.headers.get("HX-Request") and request.GET.get("part") == "body":
        template += "#body"
    return render(request, template, {"page": page})


def _page(task: Task, level: str) -> pages.TaskPage:
    lines = reading.parse(selectors.log_text(task))
    curve = reading.curve(lines)
    held = results.position_of(task)
    named = results.named_by(held, task)
    paid = selectors.settlement(task)
    running = task.progress == tuning.TRAINING
    current, review = None, None
    if named is not None and not named.acknowledged and not named.settled:
        current, review = _acknowledgement(task)
    return pages.TaskPage(
        task=task,
        means=pages.STAGES.get(task.progress, ""),
        steps=pages.steps(task),
        passages=tuple((p.stage, p.said or p.at) for p in task.passages.order_by("at")),
        listing=follow.listing_of(task),
        deliverable=named,
        deadline=selectors.deadline(task, named),
        lines=selectors.shown_lines(lines, level),
        level=level,
        levels=pages_parts.options(LEVELS, level),
        chart=selectors.chart(task, curve),
        latest=curve.points[-1].loss if curve.points else "",
        left=pages.time_left(reading.left(curve) if running else None, curve),
        price=_price(task),
        cancellable=task.progress in tuning.CANCELLABLE,
        fetchable=task.progress in results.READY,
        from_storage=bool(settings.STORAGE_INDEXER_URL) and named is not None,
        settlement=(paid.tx_hash or "") if paid else "",
        blocked_by=selectors.blocked_by(task, held) if not task.ended else "",
        review=review,
        current=current,
        contracts=accounts.contract_addresses(),
    )


def _acknowledgement(task: Task) -> tuple[shown.Transaction | None, shown.Review | None]:
    """The transaction that acknowledges the result: under way, or to be reviewed."""
    waits = accounts.under_way(task.user)
    if waits is not None and waits.action == "acknowledge_deliverable":
        return shown.transaction(waits), None
    params = {"provider": task.provider, "deliverable_id": str(task.remote_id)}
    return None, funds.reviewed(task.user, "acknowledge_deliverable", params)


def _price(task: Task) -> pricing.Price | None:
    if task.dataset is None:
        return None
    return pricing.price(
        model=task.model,
        tokens=task.dataset.tokens,
        epochs=tuning.parse_parameters(task.parameters).num_train_epochs,
        each=task.price_per_token,
        free=0,
    )


# --- files ----------------------------------------------------------------------------------------


@require_GET
@never_cache
def log(request: HttpRequest, task_id: UUID) -> HttpResponse:
    """The whole log as a file."""
    found = task_of(request, task_id)
    answer = HttpResponse(selectors.log_text(found), content_type="text/plain; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="task-{found.remote_id}.log"'
    return answer


@require_GET
@never_cache
def loss(request: HttpRequest, task_id: UUID) -> HttpResponse:
    """The losses as a table for other programs."""
    found = task_of(request, task_id)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["step", "at", "loss", "eval_loss"])
    for point in reading.curve(reading.parse(selectors.log_text(found))).points:
        at = point.at.isoformat() if point.at else ""
        writer.writerow([point.step, at, point.loss, point.eval_loss])
    answer = HttpResponse(text.getvalue(), content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="task-{found.remote_id}-loss.csv"'
    return answer


@require_GET
@never_cache
def result(request: HttpRequest, task_id: UUID) -> HttpResponseBase:
    """The encrypted result, from any byte on (`Range: bytes=N-`)."""
    found = task_of(request, task_id)
    if found.result is None or found.result_state != results.State.HERE:
        return HttpResponse("The result is not here.", status=404, content_type="text/plain")
    size = found.result.size
    start = _start(request.headers.get("Range", ""), size)
    # Not wrapped by compression: what is hashed is what is sent.
    answer = StreamingHttpResponse(
        files.read(found.result, start), content_type="application/octet-stream"
    )
    answer["Content-Disposition"] = f'attachment; filename="{found.remote_id}.bin"'
    answer["Content-Length"] = str(size - start)
    answer["Accept-Ranges"] = "bytes"
    answer["ETag"] = f'"{found.result_root}"'
    if start:
        answer.status_code = 206
        answer["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
    return answer


def _start(header: str, size: int) -> int:
    """Where an open-ended range begins; 0 for anything else, which sends the whole."""
    text = header.removeprefix("bytes=").removesuffix("-")
    good = header.startswith("bytes=") and header.endswith("-") and text.isascii()
    return int(text) if good and text.isdigit() and len(text) < 12 and int(text) < size else 0


@cache
def _tool() -> tuple[bytes, str]:
    raw = (Path(settings.BASE_DIR) / "static/tools" / TOOL).read_bytes()
    return raw, hashlib.sha256(raw).hexdigest()


@require_GET
def decrypt(request: HttpRequest) -> HttpResponse:
    """How a result becomes a model, on one's own machine."""
    page = pages.DecryptPage(TOOL, _tool()[1], f"/static/tools/{TOOL}")
    return render(request, "finetune/decrypt.html", {"page": page})
