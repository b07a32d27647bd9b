"""Template filters of the kit."""

from __future__ import annotations

from django import template

register = template.Library()
