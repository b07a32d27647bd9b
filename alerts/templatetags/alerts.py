"""`{% bell as page %}`: what the header's bell says; one query, none for visitors.
`{{ title|translated }}`: a stored sentence in the reader's language."""

from __future__ import annotations

from django import template
from django.db import DatabaseError
from django.template import Context

from accounts.models import User
from alerts import selectors, words
from alerts.pages import Bell

register = template.Library()
register.filter("translated", words.translated)


@register.simple_tag(takes_context=True)
def bell(context: Context) -> Bell | None:
    """None where nobody is signed in; no count where the database does not answer."""
    user = getattr(context.get("request"), "user", None)
    if not isinstance(user, User) or not user.is_authenticated:
        return None
    try:
        return Bell(selectors.unread(user))
    except DatabaseError:
        return Bell(0)
