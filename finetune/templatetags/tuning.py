"""Filters of the fine-tuning pages."""

from __future__ import annotations

from django import template

from finetune import problems

register = template.Library()
register.filter("translated", problems.told)
