"""Doors of webhooks: making one needs a fresh signature of the wallet, for it carries news away."""

from __future__ import annotations

import uuid

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts import limits, pages_parts
from accounts.errors import Problem
from accounts.http import signed_out, unless_fresh, user_of
from accounts.models import User
from alerts import deliver, hooks, pages, selectors
from alerts.models import Delivery, Format, Hook, State
from alerts.tasks import send_due
from net import queue

TITLE = gettext_noop("New webhook")


@require_http_methods(["GET", "POST"])
@never_cache
def new(request: HttpRequest) -> HttpResponse:
    """The form of a webhook, and the page that shows its secret once."""
    if not request.user.is_authenticated:
        return signed_out(request, _(TITLE))
    user = user_of(request)
    if (asked := unless_fresh(request, _(TITLE), "/account/alerts")) is not None:
        return asked
    url, error, status, format_ = "", "", 200, Format.SIGNED.value
    if request.method == "POST":
        limits.spend("hooks", user.address, limit=20, seconds=600)
        url, format_ = request.POST.get("url", ""), request.POST.get("format", format_)
        try:
            hook, secret = hooks.create(user, url, format_)
            return _shown(request, hook, secret)
        except Problem as problem:
            error, status = problem.said, problem.status
    formats = pages_parts.options(((f.value, _(f.label)) for f in hooks.FORMATS), format_)
    form = pages.HookForm(url[:500], formats, error)
    return render(request, "alerts/hook_new.html", {"page": form}, status=status)


def _spend(request: HttpRequest, user: User) -> None:
    """Each press may send a message to a stranger's server, and wallets cost nothing: so many of
    one network address. Raises TooMany."""
    limits.spend("hook-acts", user.address, limit=60, seconds=600)
    limits.spend("hook-acts-from", limits.address(request), limit=120, seconds=600)


def _hook(request: HttpRequest, hook_id: uuid.UUID) -> Hook:
    return get_object_or_404(Hook, pk=hook_id, user=user_of(request))


def _shown(request: HttpRequest, hook: Hook, secret: str = "") -> HttpResponse:
    rows = tuple(selectors.deliveries(hook.user, hook))
    # A chat checks no signature: there is nothing to keep.
    signs = hook.format == Format.SIGNED
    overlaps = signs and hook.overlaps(timezone.now())
    unused = hook.enabled and not selectors.is_used(hook)
    page = pages.HookPage(hook, rows, secret if signs else "", overlaps, unused)
    return render(request, "alerts/hook.html", {"page": page})


@require_GET
@never_cache
def hook(request: HttpRequest, hook_id: uuid.UUID) -> HttpResponse:
    if not request.user.is_authenticated:
        return signed_out(request, _("Webhook"))
    return _shown(request, _hook(request, hook_id))


@require_POST
def act(request: HttpRequest, hook_id: uuid.UUID) -> HttpResponse:
    """`act`: test, enable, secret, delete."""
    found, wanted = _hook(request, hook_id), request.POST.get("act", "")
    _spend(request, found.user)
    if wanted == "delete":
        hooks.delete(found)
        return HttpResponseRedirect("/account/alerts#hooks")
    if wanted == "secret":
        back = reverse("alerts:hook", args=[found.pk])
        if (asked := unless_fresh(request, _("New secret"), back)) is not None:
            return asked
        return _shown(request, found, hooks.renew_secret(found))
    if wanted == "enable":
        hooks.enable(found)
    if wanted == "test":
        hooks.test(found)
        queue.put(send_due)
    return HttpResponseRedirect(f"/account/alerts/hooks/{found.pk}")


@require_POST
def again(request: HttpRequest, delivery_id: uuid.UUID) -> HttpResponse:
    """Send one notification to its webhook once more, or what waits for its next try now."""
    user = user_of(request)
    _spend(request, user)
    row = get_object_or_404(
        Delivery.objects.select_related("user", "hook", "notification"),
        pk=delivery_id,
        user=user,
        hook__isnull=False,
    )
    if row.state == State.WAITING:
        deliver.try_now(row)
    else:
        hooks.replay(row)
    queue.put(send_due)
    return HttpResponseRedirect(f"/account/alerts/hooks/{row.hook_id}")
