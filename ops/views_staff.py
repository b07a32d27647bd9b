"""Doors of the sign-in of staff: a wallet, or name, password and code."""

from __future__ import annotations

import logging

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from accounts.errors import Problem, TooMany
from accounts.http import PROOF, own_path, typed
from accounts.pages_parts import StepUp
from moderation import audit
from ops import staff
from ops.models import PasswordAccount
from ops.pages import SignInPage

log = logging.getLogger(__name__)
HERE = "/ops/sign-in"


def _next(request: HttpRequest) -> str:
    target = request.POST.get("next") or request.GET.get("next", "")
    return own_path(request, target, "/ops")


@sensitive_post_parameters("password")
@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def sign_in(request: HttpRequest) -> HttpResponse:
    """Name and password; who is staff already goes on at once."""
    target = _next(request)
    if request.user.is_authenticated and request.user.is_staff:
        return HttpResponseRedirect(target)
    if request.method != "POST":
        return _page(request, SignInPage("password", target))
    name = request.POST.get("name", "")[:100]
    try:
        staff.first_step(request, name, request.POST.get("password", ""))
    except TooMany:
        raise
    except Problem as problem:
        # Not an act: everybody sees how long the record is, which would tell the names that exist,
        # and strangers would write what nobody can delete. The next sign-in says how many.
        staff.refused(name)
        log.warning("a password sign-in of staff was refused: %s", problem.code)
        return _page(request, SignInPage("password", target, name, problem.title), problem.status)
    request.session["staff_next"] = target
    return HttpResponseRedirect(f"{HERE}/code")


@sensitive_post_parameters("code")
@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def code(request: HttpRequest) -> HttpResponse:
    """The second step; without a right password a moment ago, back to the first."""
    account = staff.pending(request)
    if account is None:
        return HttpResponseRedirect(HERE)
    target = str(request.session.get("staff_next", "/ops"))
    if request.method != "POST":
        return _step(request, account, target)
    typed = request.POST.get("code", "")[:40]
    try:
        if account.secret_sealed:
            recovery = staff.second_step(request, account, typed)
            how = "recovery code" if recovery else "authenticator"
            _record(request, account, "signed_in", how, refused=staff.refusals(account))
            return HttpResponseRedirect(target)
        codes = staff.enrol(request, account, typed)
    except TooMany:
        raise
    except Problem as problem:
        _record(request, account, "code_refused", problem.code, by="password sign-in")
        return _step(request, account, target, problem)
    _record(request, account, "authenticator_enrolled", "authenticator")
    return _page(request, SignInPage("codes", target, account.name, codes=codes))


@sensitive_post_parameters(f"{PROOF}password", f"{PROOF}code")
@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def again(request: HttpRequest) -> HttpResponse:
    """Password and code once more, where a wallet would sign once more (`accounts.http`); then on
    to where that was asked for, with a form that was sent there as it was typed.
    """
    account = (
        PasswordAccount.objects.filter(user_id=request.user.pk or 0).select_related("user").first()
    )
    if account is None:
        raise Http404("no account with a password")
    title = _("Staff sign-in")
    if request.method != "POST":
        return _asked(request, title, _("Other tabs keep what is typed there."))
    target = own_path(request, request.POST.get(f"{PROOF}to", ""), "/ops")
    # Whoever came here by themselves has nothing to go back to, and must not be asked once more.
    target = "/ops" if target.partition("?")[0] == request.path else target
    typed_code = request.POST.get(f"{PROOF}code", "")[:40]
    try:
        password = request.POST.get(f"{PROOF}password", "")
        recovery = staff.again(request, account, password, typed_code)
    except TooMany:
        raise
    except Problem as problem:
        _record(request, account, "code_refused", problem.code)
        return _asked(request, title, problem.title, problem.status)
    _record(request, account, "signed_in", "recovery code" if recovery else "authenticator")
    if f"{PROOF}sent" not in request.POST:
        return HttpResponseRedirect(target)
    return _page(request, SignInPage("again", target, account.name, fields=typed(request)))


def _asked(request: HttpRequest, title: str, why: str, status: int = 200) -> HttpResponse:
    page = StepUp(title, why, "/ops")
    return render(request, "accounts/step_up.html", {"page": page}, status=status)


def _step(
    request: HttpRequest, account: PasswordAccount, target: str, problem: Problem | None = None
) -> HttpResponse:
    error, status = (problem.title, problem.status) if problem else ("", 200)
    if account.secret_sealed:
        left = len(account.recovery)
        page = SignInPage("code", target, account.name, error, left=left)
    else:
        offered = staff.enrolment(request, account)
        page = SignInPage("enrol", target, account.name, error, offered)
    return _page(request, page, status)


def _page(request: HttpRequest, page: SignInPage, status: int = 200) -> HttpResponse:
    return render(request, "ops/sign_in.html", {"page": page}, status=status)


def _record(
    request: HttpRequest,
    account: PasswordAccount,
    action: str,
    how: str,
    by: str = "",
    refused: int = 0,
) -> None:
    """`by`: who it was as far as is known; empty: the account's holder. `refused`: wrong passwords
    since the last sign-in."""
    about, actor = ("account", account.name), by or account.user
    after: dict[str, str | int] = {"how": how, **({"refused_before": refused} if refused else {})}
    audit.record(actor, action, about, area="admin", after=after, request=request)
