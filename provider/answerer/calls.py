"""Functions that the stand-in calls (OpenAI's `tools`). Pure and deterministic: it understands
nothing, so it goes by rules that its users can foresee.

It calls the function that `tool_choice` names or requires, or one whose name stands in the
question. A text argument is the question, a number the first one in it, of fixed values the first
that it holds. What a function gave it quotes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from provider.answerer.compose import Turn
from provider.errors import Refused

MAX_TOOLS = 128
MAX_ARGUMENT_CHARS = 200
#: Of a question, and of the values that an argument may have, what is looked at: each of these is
#: looked for in that.
MAX_ASKED_CHARS, MAX_FIXED = 20_000, 100
_NUMBER = re.compile(r"-?\d{1,12}(?:\.\d{1,6})?")


@dataclass(frozen=True)
class Tool:
    """One function on offer; `parameters` is a JSON schema that may be anything."""

    name: str
    parameters: dict[str, Any]


@dataclass(frozen=True)
class Call:
    """A function to call; `arguments` is JSON."""

    name: str
    arguments: str


@dataclass(frozen=True)
class Offer:
    """The functions of a request, and how one is chosen: auto, none, required, or a name."""

    tools: tuple[Tool, ...] = ()
    choice: str = "auto"
    size: int = 0


def read_offer(document: dict[str, Any]) -> Offer:
    """The functions in a chat request. Raises Refused 400."""
    given = document.get("tools")
    if given is None:
        return Offer()
    if not isinstance(given, list) or not 0 < len(given) <= MAX_TOOLS:
        raise Refused(400, f"tools must be a list of 1 to {MAX_TOOLS}")
    tools = tuple(_tool(entry) for entry in given)
    choice = document.get("tool_choice") or "auto"
    if isinstance(choice, dict):
        function = choice.get("function")
        choice = function.get("name") if isinstance(function, dict) else None
        if choice not in [tool.name for tool in tools]:
            raise Refused(400, "tool_choice names no function of tools")
    elif choice not in ("auto", "none", "required"):
        raise Refused(400, "tool_choice must be auto, none, required or a function")
    return Offer(tools, choice, len(orjson.dumps(given)))


def check_results(messages: Sequence[Any]) -> None:
    """Each call of an earlier answer must have its result behind it, as with other servers. Raises
    Refused 400.
    """
    waiting: set[str] = set()
    for message in [*messages, {"role": "end"}]:
        role = message.get("role") if isinstance(message, dict) else None
        if role == "tool":
            name = message.get("tool_call_id")
            if not isinstance(name, str) or name not in waiting:
                raise Refused(400, "a tool message must follow the call that it answers")
            waiting.remove(name)
            continue
        if waiting:
            raise Refused(400, "every tool call must be followed by a tool message with its result")
        called = message.get("tool_calls") if role == "assistant" else None
        waiting = {
            str(call.get("id"))
            for call in (called if isinstance(called, list) else ())
            if isinstance(call, dict)
        }


def choose(offer: Offer, turns: Sequence[Turn]) -> Call | None:
    """The function that is called now, if one is; after a result none, or it would never end."""
    if not offer.tools or offer.choice == "none" or (turns and turns[-1].role == "tool"):
        return None
    asked = next((turn.content for turn in reversed(turns) if turn.role == "user"), "")
    asked = asked[:MAX_ASKED_CHARS]
    named = [tool for tool in offer.tools if re.search(rf"\b{re.escape(tool.name)}\b", asked)]
    if offer.choice == "required":
        named = named or [offer.tools[0]]
    elif offer.choice != "auto":
        named = [tool for tool in offer.tools if tool.name == offer.choice]
    return Call(named[0].name, _arguments(named[0], asked)) if named else None


def quoted(turns: Sequence[Turn]) -> str:
    """What the functions gave, where that is the last that was said; "" where it is not."""
    given: list[str] = []
    for turn in reversed(turns):
        if turn.role != "tool":
            break
        given.insert(0, "\n".join(f"> {line}".rstrip() for line in turn.content.splitlines()))
    if not given:
        return ""
    return "\n\n".join(["*I quote what the function gave; I conclude nothing from it.*", *given])


def _tool(entry: object) -> Tool:
    function = entry.get("function") if isinstance(entry, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(function, dict) or not isinstance(name, str) or not name:
        raise Refused(400, "every tool needs a function with a name")
    parameters = function.get("parameters")
    return Tool(name, parameters if isinstance(parameters, dict) else {})


def _arguments(tool: Tool, asked: str) -> str:
    properties = tool.parameters.get("properties")
    properties = properties if isinstance(properties, dict) else {}
    required = tool.parameters.get("required")
    wanted = required if isinstance(required, list) else list(properties)
    found = {
        name: _value(properties.get(name), asked) for name in wanted[:20] if isinstance(name, str)
    }
    return orjson.dumps(found).decode()


def _value(schema: object, asked: str) -> Any:
    rule = schema if isinstance(schema, dict) else {}
    fixed = rule.get("enum")
    if isinstance(fixed, list) and fixed:
        said, looked_at = asked.casefold(), fixed[:MAX_FIXED]
        return next((x for x in looked_at if str(x).casefold() in said), fixed[0])
    kind = rule.get("type")
    number = _NUMBER.search(asked)
    if kind == "integer":
        return int(float(number[0])) if number else 0
    if kind == "number":
        return float(number[0]) if number else 0
    if kind == "boolean":
        return True
    if kind == "array":
        return []
    return {} if kind == "object" else asked.strip()[:MAX_ARGUMENT_CHARS]
