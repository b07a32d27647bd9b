"""Doors of presets: list, save, delete, bring back, earlier texts."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts.http import NotSignedIn, own_form, taker
from accounts.models import User
from inference import presets
from inference.errors import BadPrompt
from inference.options import Options
from inference.pages import PresetsPage, VersionsPage
from inference.presets import Own
from inference.views import as_file, number_of, user_of


@never_cache
@require_http_methods(["GET", "POST"])
def own(request: HttpRequest) -> HttpResponse:
    """The person's presets; POST saves one (`preset` names the one to change). The chat's settings
    ask with htmx and get their choices back.
    """
    user = user_of(request)
    if user is None and own_form(request):
        raise NotSignedIn("not signed in")
    if user is None:
        return render(request, "inference/presets.html", {"page": None})
    # A form sends a line break as two characters; its fields count one.
    given = {name: text.replace("\r\n", "\n") for name, text in request.POST.dict().items()}
    error = _saved(user, given) if request.method == "POST" else ""
    if request.headers.get("HX-Request"):
        saved = "" if error else given.get("preset_name", "")
        told = {"presets": presets.of(user), "error": error, "saved": saved}
        return render(request, "inference/preset_choice.html", told)
    if request.method == "POST" and not error:
        return HttpResponseRedirect(reverse("inference:presets"))
    found = presets.of(user)
    wanted = number_of(given.get("preset_id"))
    failed = wanted if error and any(own.id == wanted for own in found) else 0
    typed = _typed(failed, given) if error else None
    return _list(request, user, found, error, failed, typed)


def _saved(user: User, given: dict[str, str]) -> str:
    """Save what a form says; why not, or ""."""
    kept = {name: given[name] for name in Options.__dataclass_fields__ if name in given}
    if "body" in given:
        kept["body"] = given["body"]
    elif given.get("preset_body") and given.get("text", "").strip():  # of the composer
        kept["body"] = given["text"]
    try:
        preset = number_of(given.get("preset_id")) or None
        presets.save(user, given.get("preset_name", ""), kept, preset)
    except BadPrompt as wrong:
        return wrong.sentence
    return ""


def _list(
    request: HttpRequest,
    user: User,
    found: tuple[Own, ...],
    error: str,
    failed: int,
    typed: dict[str, Any] | None = None,
) -> HttpResponse:
    deleted = number_of(request.GET.get("deleted"))
    page = PresetsPage(
        presets=found,
        error=error,
        failed=failed,
        typed=typed,
        deleted=deleted if deleted and presets.comes_back(user, deleted) else 0,
        changed=presets.with_versions(user),
    )
    return render(request, "inference/presets.html", {"page": page}, status=400 if error else 200)


@never_cache
@require_GET
def file(request: HttpRequest) -> HttpResponse:
    """The person's presets, or one (`preset`), as JSON: to keep, or to give to others. Needs a
    fresh signature. Raises TooMany.
    """
    user = taker(request, _("Presets as a file"), reverse("inference:presets"))
    if not isinstance(user, User):
        return user
    made = presets.document(user, number_of(request.GET.get("preset")) or None)
    return as_file(made, "application/json", "presets.json")


@require_POST
def take_in(request: HttpRequest) -> HttpResponse:
    """Keep the presets of an uploaded `file`."""
    user, given = _user(request), request.FILES.get("file")
    try:
        if given is None or (given.size or 0) > presets.MAX_FILE_BYTES:
            raise BadPrompt(_("Choose a file of presets, of eight megabytes at most."))
        presets.take_in(user, given.read())
    except BadPrompt as wrong:
        return _list(request, user, presets.of(user), wrong.sentence, -1)
    return HttpResponseRedirect(reverse("inference:presets"))


@require_POST
def delete(request: HttpRequest, preset: int) -> HttpResponse:
    """Delete a preset; the page it leads to offers to bring it back."""
    user = _user(request)
    if not (presets.delete(user, preset) or presets.comes_back(user, preset)):
        raise Http404("no such preset")
    return HttpResponseRedirect(f"{reverse('inference:presets')}?deleted={preset}")


@require_POST
def undo(request: HttpRequest, preset: int) -> HttpResponse:
    """Bring back a preset that was just deleted."""
    user = _user(request)
    try:
        if not presets.bring_back(user, preset):
            raise Http404(_("It is too late to undo this."))
    except BadPrompt as wrong:
        return _list(request, user, presets.of(user), wrong.sentence, 0)
    return HttpResponseRedirect(reverse("inference:presets"))


@never_cache
@require_GET
def versions(request: HttpRequest, preset: int) -> HttpResponse:
    """What a preset said before it was saved again."""
    return _versions(request, preset)


@require_POST
def restore(request: HttpRequest, preset: int, version: int) -> HttpResponse:
    """Take an earlier text up again; what is there now stays among the earlier ones."""
    try:
        if not presets.restore(_user(request), preset, version):
            raise Http404("no such version")
    except BadPrompt as wrong:
        return _versions(request, preset, wrong.sentence)
    return HttpResponseRedirect(reverse("inference:preset_versions", args=[preset]))


def _versions(request: HttpRequest, preset: int, error: str = "") -> HttpResponse:
    user = _user(request)
    own = presets.get(user, preset)
    if own is None:
        raise Http404("no such preset")
    page = VersionsPage(own, presets.versions(user, preset), error)
    status = 400 if error else 200
    return render(request, "inference/preset_versions.html", {"page": page}, status=status)


def _typed(preset: int, given: dict[str, str]) -> dict[str, Any]:
    """What a refused form said, as its template reads a preset."""
    options = {
        **{name: given.get(name, "") for name in Options.__dataclass_fields__},
        "stop": given.get("stop", "").splitlines(),
        "json": "json" in given,
    }
    name, body = given.get("preset_name", ""), given.get("body", "")
    return {"id": preset, "name": name, "body": body, "options": options}


def _user(request: HttpRequest) -> User:
    user = user_of(request)
    if user is None:
        raise Http404("no such preset")
    return user
