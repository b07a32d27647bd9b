"""The door of a chat with the site's bot: like a webhook it carries news away, so making a code for
one needs a fresh signature of the wallet."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from accounts.errors import Problem
from accounts.http import signed_out, unless_fresh, user_of
from alerts import pages, telegram

TITLE = gettext_noop("Telegram chat")


@require_http_methods(["GET", "POST"])
@never_cache
def connect(request: HttpRequest) -> HttpResponse:
    """What a chat is for; POST makes the code that connects one. 404 where the site has no bot."""
    if not request.user.is_authenticated:
        return signed_out(request, _(TITLE))
    user = user_of(request)
    if (asked := unless_fresh(request, _(TITLE), "/account/alerts")) is not None:
        return asked
    if not telegram.works():
        raise Http404("no bot")
    shown, status = pages.TelegramPage(), 200
    if request.method == "POST":
        try:
            shown = pages.TelegramPage(telegram.invite(user))
        except Problem as problem:
            shown = pages.TelegramPage(error=problem.said)
            status = problem.status
    return render(request, "alerts/telegram.html", {"page": shown}, status=status)
