"""Door of runs beside each other."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from accounts.http import signed_out, user_of
from finetune import comparing


@require_GET
@never_cache
def compare(request: HttpRequest) -> HttpResponse:
    """`/fine-tuning/compare?task=…&task=…`: two to four of one's own tasks."""
    if not request.user.is_authenticated:
        return signed_out(request, _("Compare runs"))
    page = comparing.page(user_of(request), request.GET.getlist("task"))
    return render(request, "finetune/compare.html", {"page": page})
