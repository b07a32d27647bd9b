"""`/admin/`: what the database holds, for staff. Read-only but for what `ops.admin` says.

Signing in happens at `/ops/sign-in`: with a wallet, or with a password account and its second
factor. There is no session of an account before its second factor was right.
"""

from __future__ import annotations

from functools import update_wrapper
from typing import Any
from urllib.parse import urlencode

from csp.constants import SELF, UNSAFE_EVAL, UNSAFE_INLINE
from csp.decorators import csp
from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.templatetags.static import static
from unfold.sites import UnfoldAdminSite

from accounts import roles, views_session
from accounts.models import User

SIGN_IN = "/ops/sign-in"


def policy() -> dict[str, Any]:
    """unfold's scripts evaluate expressions of their own templates (Alpine), its pages carry one
    style element. Nothing inline runs as a script, nothing comes from elsewhere."""
    return {
        **settings.CONTENT_SECURITY_POLICY["DIRECTIVES"],
        "script-src": [SELF, UNSAFE_EVAL],
        "style-src": [SELF, UNSAFE_INLINE],
    }


def narrow(request: HttpRequest) -> str:
    """The style sheet beside unfold's: what is long and has no spaces breaks on a phone."""
    return static("admin.css")


class MarketAdmin(UnfoldAdminSite):  # type: ignore[misc]  # unfold has no types
    def has_permission(self, request: HttpRequest) -> bool:
        user = request.user
        return isinstance(user, User) and not roles.STAFF.isdisjoint(roles.of(user))

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        guarded = super().admin_view(view, cacheable)

        def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            # Made at each request: tests change the policy.
            return csp(policy())(guarded)(request, *args, **kwargs)

        return update_wrapper(answer, guarded)

    def login(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        target = request.GET.get("next", "/admin/")
        return HttpResponseRedirect(f"{SIGN_IN}?{urlencode({'next': target})}")

    def logout(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        return views_session.sign_out(request)

    def password_change(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        raise Http404("Passwords change by manage.py create_staff.")

    password_change_done = password_change


site = MarketAdmin(name="admin")
