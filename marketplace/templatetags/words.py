"""`translate`, kept by language where it says a constant: each cell of a table names its column."""

from __future__ import annotations

from django import template
from django.template import Context, Node, Variable
from django.template.base import Parser, Token
from django.templatetags import i18n

from net.words import kept_by_language

register = template.Library()


class Kept(Node):
    """What a node says that reads nothing of its context."""

    def __init__(self, constant: Node) -> None:
        self.said = kept_by_language(lambda: constant.render(Context()))

    def render(self, context: Context) -> str:
        return self.said()


@register.tag
def translate(parser: Parser, token: Token) -> Node:
    found = i18n.do_translate(parser, token)
    said = found.filter_expression
    text = said.var.literal if isinstance(said.var, Variable) else None
    plain = isinstance(text, str) and not said.filters
    return Kept(found) if plain and not found.asvar and not found.message_context else found
