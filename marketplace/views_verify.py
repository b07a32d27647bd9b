"""`/verify`: anybody checks evidence or an answer they hold; no account, no money.

Size is looked at before anything is parsed, the token of the form included: that is why the outer
view is exempt and the inner one protected (Django's way for uploads).
"""

from __future__ import annotations

from typing import Any

from asgiref.sync import async_to_sync
from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_http_methods

from accounts.limits import address
from attestation import services, uploads
from attestation.errors import BadUpload
from attestation.services import Upload
from inference import answers, proofs
from inference.answers import Body, Checked, Unusable
from marketplace import limits, links
from marketplace import pages_verification as shown

#: The whole request, bytes; above it nothing is read.
MAX_REQUEST_BYTES = 13 << 20
CHECKS = limits.Limit("verify", per_minute=10, burst=10)
#: Reports stay for ever at their address, so what may come in is bounded, in kB: of one address,
#: and of everybody together (about 290 MB a day).
KEPT = limits.Limit("verify-kept", per_minute=100, burst=20_000)
KEPT_ALL = limits.Limit("verify-kept-all", per_minute=200, burst=400_000)
_TEMPLATE = "marketplace/verify.html"


@csrf_exempt
@require_http_methods(["GET", "HEAD", "POST"])
def verify(request: HttpRequest) -> HttpResponse:
    """The form and its answer."""
    if request.method != "POST":
        return _form(request, request.GET.dict())
    length = request.headers.get("Content-Length", "")
    if not length.isdigit() or int(length) > MAX_REQUEST_BYTES:
        return _refused(request, 413, _("Up to %(n)s MB at once.") % {"n": MAX_REQUEST_BYTES >> 20})
    decision = _room(request, int(length))
    try:
        answer: HttpResponse
        answer = _judge(request) if decision.allowed else _too_often(request, int(length), decision)
    except RequestDataTooBig:
        words = _("A text of more than %(n)s MB: bring it as a file.")
        answer = _refused(request, 413, words % {"n": settings.DATA_UPLOAD_MAX_MEMORY_SIZE >> 20})
    return answer


def _room(request: HttpRequest, length: int) -> limits.Decision:
    """Whether this caller may bring `length` bytes now; what is only answered is not kept."""
    who, size = address(request), length // 1000 + 1
    decision = limits.take(CHECKS, who)
    if request.GET.get("what") == "answer":
        return decision
    for limit, whose in ((KEPT, who), (KEPT_ALL, "everybody")):
        if decision.allowed:
            decision = limits.take(limit, whose, size)
    return decision


def _refused(request: HttpRequest, status: int, text: str) -> HttpResponse:
    """The empty form, without reading anything of the request."""
    return _form(request, {}, text, status)


def _too_often(request: HttpRequest, length: int, decision: limits.Decision) -> HttpResponse:
    """The form with what was pasted, to be sent again; of what is larger nothing is read."""
    values = request.POST.dict() if length <= settings.DATA_UPLOAD_MAX_MEMORY_SIZE else {}
    words = _("That was often, or much. Wait a while, then try again.")
    response = _form(request, values, words, 429)
    response["Retry-After"] = decision.headers["Retry-After"]
    return response


@csrf_protect
def _judge(request: HttpRequest) -> HttpResponse:
    try:
        if request.GET.get("what") == "answer":
            return _answer(request)
        return _evidence(request)
    except (BadUpload, Unusable) as error:
        return _form(request, request.POST.dict(), str(error), 400)


def _evidence(request: HttpRequest) -> HttpResponse:
    data = uploads.as_written(_file(request, "file"))
    data = data or request.POST.get("text", "").strip().encode()
    kind = uploads.kind_of(data, request.POST.get("kind", ""))
    if kind == "conversation":
        return _checked(request, answers.conversation(data))
    if kind == "proofs":
        return _checked(request, proofs.judge(data))
    if kind == "bundle" and proofs.is_archive(data):
        return _checked(request, proofs.archive(data))
    run = services.judge_upload(_upload(request, kind, data), _user(request))
    return HttpResponseRedirect(f"/verifications/{run.pk}")


def _upload(request: HttpRequest, kind: str, data: bytes) -> Upload:
    if kind == "bundle":
        return Upload(bundle=data)
    given = request.POST
    return Upload(
        kind=kind,
        body=data,
        chain_pem=_file(request, "chain"),
        nonce=given.get("nonce", "").strip()[:100],
        onchain_signer=given.get("onchain_signer", "").strip()[:100],
    )


def _answer(request: HttpRequest) -> HttpResponse:
    given = request.POST
    check = async_to_sync(answers.check)
    found: Checked = check(
        given.get("provider", "").strip()[:100],
        given.get("answer_id", "").strip()[:200],
        _body(request, "request"),
        _body(request, "response"),
        complete=not given.get("stopped"),
    )
    return _checked(request, (found,))


def _body(request: HttpRequest, name: str) -> Body:
    """The bytes of a file, or of a pasted text."""
    data = _file(request, f"{name}_file")
    if data:
        return Body(data)
    return Body(request.POST.get(f"{name}_text", "").encode(), typed=True)


def _file(request: HttpRequest, name: str) -> bytes:
    found = request.FILES.get(name)
    return found.read() if isinstance(found, UploadedFile) else b""


def _user(request: HttpRequest) -> int | None:
    return request.user.pk if request.user.is_authenticated else None


def _checked(request: HttpRequest, found: tuple[Checked | None, ...]) -> HttpResponse:
    judged = [one for one in found if one is not None]
    page = shown.VerifyPage(
        tab=request.GET.get("what", ""),
        answers=tuple(shown.answer_row(one, links.provider_path(one.provider)) for one in judged),
        unsaid=len(found) - len(judged),
        values=request.POST.dict(),
    )
    return render(request, _TEMPLATE, {"page": page})


def _form(
    request: HttpRequest, values: dict[str, Any], error: str = "", status: int = 200
) -> HttpResponse:
    page = shown.VerifyPage(tab=request.GET.get("what", ""), error=error, values=values)
    return render(request, _TEMPLATE, {"page": page}, status=status)
