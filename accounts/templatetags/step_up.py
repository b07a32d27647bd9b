"""`{% step_up %}`: the button that asks for a fresh signature, and does then what was asked for."""

from __future__ import annotations

from typing import Any

from django import template
from django.template import Context

from accounts.http import PROOF, typed

register = template.Library()


@register.inclusion_tag("accounts/step_up_button.html", takes_context=True)
def step_up(
    context: Context, follows: bool = False, part: str = "", path: str = ""
) -> dict[str, Any]:
    """A form that was sent is sent once more, as it was typed; a page is asked for again, where
    `follows` says that this is what the person came for, or only its `part` (an id) at `path`, so
    that what is typed beside it stays. Who has a password types it once more, with a code
    (`/ops/sign-in/again`), and what was refused there is asked anew.
    """
    request = context["request"]
    again = request.POST.get(f"{PROOF}to", "")
    sent = request.method == "POST" and not part
    return {
        "action": request.get_full_path() if sent else "",
        "to": again or path or request.get_full_path(),
        "sent": f"{PROOF}sent" in request.POST if again else sent,
        "fields": typed(request),
        "csrf_token": context.get("csrf_token"),
        "follows": follows or sent,
        "part": part,
        "path": path,
        "signs": not request.user.has_usable_password(),
    }
