"""Pages of fine-tuning: what is offered and what one has, a task, the decrypting tool."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from dataclasses import replace
from functools import cache
from itertools import chain
from pathlib import Path
from uuid import UUID

from django.conf import settings
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseRedirect,
    QueryDict,
    StreamingHttpResponse,
)
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as N_
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from accounts import funds, limits, pages_parts
from accounts import pages_transaction as shown
from accounts import selectors as accounts
from accounts.crypto import Unreadable
from accounts.errors import Problem
from accounts.http import in_pieces, number_of, signed_out, user_of, uuid_of
from accounts.models import RECONSIDERED, User
from attestation import selectors as attestation
from attestation.selectors import ServiceKey, StandingView
from finetune import (
    comparing,
    deploying,
    drafts,
    files,
    follow,
    offers,
    pages,
    pricing,
    reading,
    results,
    selectors,
    settled,
    stages,
)
from finetune.errors import BrokerError
from finetune.models import Task
from ledger import selectors as ledger
from ledger.models import Kind
from ledger.records import Listing
from moderation.subjects import Subject
from protocol import tuning

LEVELS = (
    ("", N_("Every level")),
    ("INFO", N_("Info and above")),
    ("WARNING", N_("Warnings")),
    ("ERROR", N_("Errors")),
)
TOOL = "zg-decrypt.py"
#: Of a log, the newest lines stand on the page.
MOST_LINES = 1_000
#: Of one's tasks, so many stand on a page of the list, the newest first.
MOST_TASKS = 50
ACKNOWLEDGE = (
    "0g-compute-cli fine-tuning acknowledge-deliverable --provider {task.provider} "
    "--task-id {task.remote_id} --fine-tuning-ca {task.serving}"
)
DECRYPT = (
    "uv run zg-decrypt.py --file {file}.bin --out model.zip --rpc {rpc} "
    "--contract {contract} --provider {provider} --task {task}{more}"
)
#: Where the chain has the key no more.
DECRYPT_BY_KEY = (
    "uv run zg-decrypt.py --file {file}.bin --out model.zip --signer {signer} --secret {secret}"
)
#: What may stand in a command that people copy; a model's name is a stranger's.
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,99}")
PEFT = """from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("output_model")
base = AutoModelForCausalLM.from_pretrained("{model}")
model = PeftModel.from_pretrained(base, "output_model")

prompt = tokenizer("A question", return_tensors="pt")
print(tokenizer.decode(model.generate(**prompt, max_new_tokens=60)[0]))

# For programs that know no adapters: one model, as large as the base model.
model.merge_and_unload().save_pretrained("merged")
tokenizer.save_pretrained("merged")"""
SERVE = "vllm serve {model} --enable-lora --lora-modules mine=output_model"


@require_GET
@never_cache
def index(request: HttpRequest) -> HttpResponse:
    """`/fine-tuning`: readable by anybody; tasks and datasets of whoever is signed in."""
    mine = request.user if isinstance(request.user, User) else None
    offers = selectors.offers()
    some_away = mine is not None and mine.tuning_tasks.exclude(put_away_at=None).exists()
    away = some_away and "away" in request.GET
    held = ledger.account(mine.address).positions if mine else ()
    number = number_of(request)
    start = (number - 1) * MOST_TASKS
    rows = selectors.task_rows(mine, held, MOST_TASKS + 1, start=start, away=away) if mine else ()
    if start and not rows:
        raise pages_parts.PastTheEnd("/fine-tuning")
    query = "?away=1&page=" if away else "?page="
    page = pages.IndexPage(
        offers=offers,
        elsewhere=selectors.elsewhere(held, offers),
        tasks=rows[:MOST_TASKS],
        newer=f"{query}{number - 1}#tasks" if start else "",
        older=f"{query}{number + 1}#tasks" if len(rows) > MOST_TASKS else "",
        away=away,
        some_away=some_away,
        undo=drafts.comes_back(mine, uuid_of(request.GET.get("deleted", ""))) if mine else None,
        datasets=tuple(selectors.datasets_of(mine) if mine else ()),
        drafts=tuple(drafts.of(mine).select_related("dataset") if mine else ()),
        storage=bool(settings.STORAGE_INDEXER_URL),
        adopted=request.GET.get("found", "")[:3],
    )
    return render(request, "finetune/index.html", {"page": page})


@require_POST
def adopt(request: HttpRequest) -> HttpResponse:
    """Look for tasks of this wallet at one provider that were made with other programs."""
    user = user_of(request)
    limits.spend("tuning-adopt", user.address, limit=20, seconds=300)
    listing = _listing(request.POST, include_removed=True)
    if listing is None and request.POST.get("provider"):
        raise Http404("never offered")
    if listing is None:
        return HttpResponseRedirect("/fine-tuning")
    try:
        found = follow.adopt(user, listing)
    except BrokerError:
        return HttpResponseRedirect("/fine-tuning?found=no")
    return HttpResponseRedirect(f"/fine-tuning?found={found}")


def _listing(given: QueryDict, *, include_removed: bool = False) -> Listing | None:
    """What the named provider offers for fine-tuning, in the contract of `service_name` if that is
    given."""
    provider = ledger.address_of(given.get("provider", ""))
    if provider is None:
        return None
    name = given.get("service_name", "").replace("\0", "")[:200]
    return ledger.service(Kind.FINE_TUNING, provider, name, include_removed=include_removed)


def task_of(request: HttpRequest, task_id: UUID) -> Task:
    """One of the signed-in person's tasks; 404 for anybody else's."""
    rows = Task.objects.select_related("user", "dataset", "result").prefetch_related("passages")
    return get_object_or_404(rows, pk=task_id, user=user_of(request))


@require_GET
@never_cache
def task(request: HttpRequest, task_id: UUID) -> HttpResponse:
    """`/fine-tuning/tasks/{id}?level=WARNING`."""
    if not request.user.is_authenticated:
        return signed_out(request, _("Fine-tuning task"))
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
    paid = settled.settlement(task)
    ended_as = paid.status if paid else ""
    current, review, older = None, None, _is_older(task)
    if named is not None and named.waits and not older:
        current, review = _acknowledgement(task)
    listing = follow.listing_of(task)
    wanted = selectors.shown_lines(lines, level)
    over = task.progress == tuning.FINISHED and named is not None and named.acknowledged
    lost = stages.lost(named, ended_as)
    bad = task.progress == tuning.FAILED or task.result_state == results.State.WRONG
    parameters = _parameters(task)
    lacks, top_up = selectors.lacking(task, held, named)
    return pages.TaskPage(
        task=task,
        means=stages.meaning(task, named, ended_as),
        steps=stages.steps(task, named, ended_as),
        passages=stages.times(task),
        listing=listing,
        deliverable=named,
        deadline=selectors.deadlines([(task, named)]).get(task.pk),
        lines=wanted[-MOST_LINES:],
        earlier_lines=max(0, len(wanted) - MOST_LINES),
        last_line=lines[-1].text if lines and task.progress == tuning.FAILED else "",
        level=level,
        levels=pages_parts.options(tuple((value, _(label)) for value, label in LEVELS), level),
        chart=selectors.chart(task, curve),
        left=selectors.left(task, curve),
        price=_price(task, parameters),
        readable=parameters is not None,
        cancellable=task.progress in tuning.CANCELLABLE,
        fetchable=not lost and (named is not None or task.progress in results.READY),
        from_storage=bool(settings.STORAGE_INDEXER_URL) and (named is not None or paid is not None),
        settlement=(paid.tx_hash or "") if paid else "",
        charged=paid.settled if paid else None,
        ended_as=ended_as,
        blocked_by=None if task.ended else selectors.blocked(task.user, held, task.remote_id),
        report=_report(listing) if bad else "",
        review=review,
        current=current,
        contracts=accounts.contract_addresses(),
        queue=_queue(task, listing),
        places=deploying.places(task) if over and not lost else (),
        cli=ACKNOWLEDGE.format(task=task) if older else "",
        images=attestation.images(task.verification) if task.verification else (),
        replaced=results.replaced(task, named),
        now=_of_other_key(task, listing),
        lacks=lacks,
        top_up=top_up,
    )


def _of_other_key(task: Task, listing: Listing | None) -> StandingView | None:
    """What was verified of the key of now, where it sealed the result and another one was
    noted for the task."""
    other = task.result_state == results.State.HERE and task.result_signer != task.tee_signer
    if not other or listing is None or listing.tee_signer != task.result_signer:
        return None
    return attestation.standing_of(ServiceKey.of(listing))


def _report(listing: Listing | None) -> str:
    return Subject.service(listing.serving, listing.provider).report_path if listing else ""


def _is_older(task: Task) -> bool:
    """Whether it is at another contract than the one that acknowledgements of this site go to
    (interfaces.md 3: the action names no contract, so the recommended one is meant)."""
    now = ledger.recommended(Kind.FINE_TUNING, ledger.contracts())
    return now is not None and now.address != task.serving


def _queue(task: Task, listing: Listing | None) -> int | None:
    """How many tasks wait or run at its provider while it waits itself; None where nobody says."""
    if task.progress != tuning.INIT or listing is None:
        return None
    return offers.pending(listing)


def _acknowledgement(task: Task) -> tuple[shown.Transaction | None, shown.Review | None]:
    """The transaction that acknowledges this result: under way, or to be reviewed, anew where one
    has failed."""
    params = {"provider": task.provider, "deliverable_id": str(task.remote_id)}
    for waits in accounts.under_way(task.user):
        same = waits.action == "acknowledge_deliverable" and waits.params == params
        if same and waits.state not in RECONSIDERED:
            return shown.transaction(waits), None
    review = funds.reviewed(task.user, "acknowledge_deliverable", params)
    return None, replace(review, retry=review.retry and f"/fine-tuning/tasks/{task.pk}")


def _parameters(task: Task) -> tuning.Parameters | None:
    """None where they cannot be read: of a task that was found at its provider they are its
    words."""
    try:
        return tuning.parse_parameters(task.parameters)
    except tuning.BadParameters:
        return None


def _price(task: Task, parameters: tuning.Parameters | None) -> pricing.Price | None:
    if task.dataset is None or parameters is None:
        return None
    return pricing.price(
        model=task.model,
        tokens=task.dataset.tokens,
        epochs=parameters.num_train_epochs,
        each=task.price_per_token,
        free=0,
    )


@require_GET
@never_cache
def compare(request: HttpRequest) -> HttpResponse:
    """`/fine-tuning/compare?task=…&task=…`: two to four of one's own tasks."""
    if not request.user.is_authenticated:
        return signed_out(request, _("Compare runs"))
    page = comparing.page(user_of(request), request.GET.getlist("task"))
    return render(request, "finetune/compare.html", {"page": page})


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
        return HttpResponse(_("The result is not here."), status=404, content_type="text/plain")
    size = found.result.size
    start = _start(request.headers.get("Range", ""), size)
    pieces = files.read(found.result, start)
    try:
        first = next(pieces, b"")
    except Unreadable:
        results.unreadable(found)
        return HttpResponseRedirect(f"/fine-tuning/tasks/{found.pk}#result")
    # Not wrapped by compression: what is hashed is what is sent.
    answer = StreamingHttpResponse(
        in_pieces(request, chain((first,), pieces)),
        content_type="application/octet-stream",
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
    named = uuid_of(request.GET.get("task", ""))
    mine = user_of(request).tuning_tasks if named and request.user.is_authenticated else None
    found = mine.filter(pk=named).first() if mine is not None and named else None
    told, secret = _told(found), ""
    if found is not None and results.deliverable_of(found) is None:
        secret = settled.sealed_key(found)
    by_key = bool(secret and told["signer"])
    page = pages.DecryptPage(
        name=TOOL,
        sha256=_tool()[1],
        path=f"/static/tools/{TOOL}",
        command=(DECRYPT_BY_KEY if by_key else DECRYPT).format(**told, secret=secret),
        by_key=by_key,
        peft=PEFT.format(model=_model(found)),
        serve=SERVE.format(model=_model(found)),
        task=found,
    )
    return render(request, "finetune/decrypt.html", {"page": page})


def _told(task: Task | None) -> dict[str, str]:
    """What the tool is told on its command line."""
    signer = task.tee_signer if task else ""
    if task and task.result_state == results.State.HERE:
        signer = task.result_signer or signer  # the provider may have changed its key on the way
    # The operator's own nodes may have keys in their addresses; a devnet's have none.
    rpc = settings.NETWORK.rpc_urls or (settings.CHAIN_RPC_URLS if settings.IS_DEVNET else ())
    return {
        "file": str(task.remote_id) if task else "TASK",
        "rpc": rpc[0] if rpc else "RPC_URL",
        "contract": task.serving if task else "FINE_TUNING_CONTRACT",
        "provider": task.provider if task else "PROVIDER",
        "task": str(task.remote_id) if task else "TASK_ID",
        "signer": signer,
        # The key is then asked for after all checks, and the provider may be another by now.
        "more": f" --user {task.user.address} --signer {signer}" if task and signer else "",
    }


def _model(task: Task | None) -> str:
    return task.model if task and _SAFE.fullmatch(task.model) else "BASE_MODEL"


@require_GET
def usage(request: HttpRequest) -> HttpResponse:
    """`/fine-tuning/usage?provider=&service_name=&model=`: the zip in which a provider explains a
    model of its own. A stranger's file: bounded, never opened here, and only ever saved."""
    user = user_of(request)
    limits.spend("tuning-usage", user.address, limit=20, seconds=300)
    listing = _listing(request.GET)
    model = request.GET.get("model", "")[:200]
    if listing is None or not model:
        raise Http404("no such model")
    try:
        raw = offers.usage(listing, model)
    except Problem as problem:
        return HttpResponse(problem.title, status=problem.status, content_type="text/plain")
    answer = HttpResponse(raw, content_type="application/zip")
    name = re.sub(r"[^\w.-]", "_", model, flags=re.ASCII)[:80].strip(".") or "model"
    answer["Content-Disposition"] = f'attachment; filename="{name}-usage.zip"'
    answer["X-Content-Type-Options"] = "nosniff"
    return answer
