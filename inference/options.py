"""How a question is asked: the parameters of OpenAI chat completions that brokers pass on. Pure.

Every value is checked here, whoever sends it (form, socket, stored row); what is left out is left
to the provider.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Self

import orjson
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as N_

from inference import tools
from inference.errors import BadPrompt
from net import strictjson
from net.errors import BadAnswer
from net.limits import JsonLimits

MAX_TOKENS = 1024
MOST_TOKENS = 32_768
MAX_SYSTEM_CHARS = 8_000
MAX_STOPS = 4
MAX_STOP_CHARS = 64
MAX_SCHEMA_CHARS = 8_000
MAX_TOOLS = 64
MAX_TOOLS_CHARS = 16_000
#: Ways to choose a function; any other choice names one of them.
CHOICES = ("auto", "none", "required")
_MOST_SEED = 2**53 - 1
#: Of a decimal number as it is written, its point included.
_MOST_DIGITS = 8
_SCHEMA_SHAPE = JsonLimits(max_depth=24, max_bytes=4 * MAX_SCHEMA_CHARS)
_TOOLS_SHAPE = JsonLimits(max_depth=28, max_bytes=4 * MAX_TOOLS_CHARS)


@dataclass(frozen=True)
class Options:
    """`temperature` and `top_p` are decimal strings ("" = the provider's own), `stop` up to four
    texts, `max_tokens` bounds the answer and with it the cost. `schema` is a JSON schema of the
    answer as it was written; with one, `json` asks for nothing more. `tools` are the functions that
    the model may call, as they were written (OpenAI's list), `tool_choice` how: one of CHOICES, the
    name of one, or "" for the provider's own. `verified`: nothing is sent to a service that is not
    (`inference.guard`).
    """

    system: str = ""
    temperature: str = ""
    top_p: str = ""
    max_tokens: int = MAX_TOKENS
    seed: int | None = None
    stop: tuple[str, ...] = ()
    json: bool = False
    schema: str = ""
    tools: str = ""
    tool_choice: str = ""
    verified: bool = False

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """Checked options of loose ones (numbers may be text, as forms send them).

        Raises BadPrompt with the field's rule.
        """
        system = _text(given.get("system"), MAX_SYSTEM_CHARS, _("The system prompt"))
        stop = given.get("stop")
        stops = [line for line in stop.splitlines() if line] if isinstance(stop, str) else stop
        if not isinstance(stops, list | tuple | None) or len(stops or ()) > MAX_STOPS:
            raise BadPrompt(
                _("Up to %(max_stops)s stop texts, one per line.") % {"max_stops": MAX_STOPS}
            )
        written, names = _tools(given.get("tools"))
        return cls(
            system=system.strip(),
            temperature=_number(given.get("temperature"), _("Temperature"), 2),
            top_p=_number(given.get("top_p"), _("Top p"), 1),
            max_tokens=whole(given.get("max_tokens"), _("Most tokens"), 1, MOST_TOKENS)
            or MAX_TOKENS,
            seed=whole(given.get("seed"), _("The seed"), 0, _MOST_SEED),
            stop=tuple(_text(x, MAX_STOP_CHARS, _("A stop text")) for x in stops or ()),
            json=ticked(given.get("json")),
            schema=_schema(given.get("schema")),
            tools=written,
            tool_choice=_choice(given.get("tool_choice"), names),
            verified=ticked(given.get("verified")),
        )

    def wire(
        self, taken: tuple[str, ...] | None = None, *, results: bool = False
    ) -> dict[str, Any]:
        """What goes into the request besides model, messages and max_tokens; of it only what is
        `taken` where the provider says which parameters its model knows. With the `results` of
        functions none is required again: the model would never come to its answer.

        Schema and functions go out as they were written (they were read when they were checked):
        of a number beyond 64 bits a parser would make another one.
        """
        wanted = self._wanted()
        if results and self.tool_choice != "none":
            wanted.pop("tool_choice", None)
        found = {k: v for k, v in wanted.items() if taken is None or k in taken}
        if "tools" not in found:
            found.pop("tool_choice", None)  # of nothing
        return found

    def _wanted(self) -> dict[str, Any]:
        return {
            **({"temperature": float(self.temperature)} if self.temperature else {}),
            **({"top_p": float(self.top_p)} if self.top_p else {}),
            **({"seed": self.seed} if self.seed is not None else {}),
            **({"stop": list(self.stop)} if self.stop else {}),
            **self._form(),
            **self._functions(),
        }

    def _form(self) -> dict[str, Any]:
        """What the answer is to look like."""
        if self.schema:
            asked = {"name": "answer", "schema": orjson.Fragment(self.schema)}
            return {"response_format": {"type": "json_schema", "json_schema": asked}}
        return {"response_format": {"type": "json_object"}} if self.json else {}

    def _functions(self) -> dict[str, Any]:
        """What the model may call."""
        if not self.tools:
            return {}
        named = {"type": "function", "function": {"name": self.tool_choice}}
        chosen = self.tool_choice if self.tool_choice in CHOICES else named
        offered: dict[str, Any] = {"tools": orjson.Fragment(self.tools)}
        return {**offered, "tool_choice": chosen} if self.tool_choice else offered

    def stored(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def changed(self) -> int:
        """How many differ from the defaults."""
        defaults = asdict(type(self)())
        return sum(value != defaults[name] for name, value in asdict(self).items())


@dataclass(frozen=True)
class Preset:
    """A named choice of sampling; what it does is said beside it."""

    name: str
    words: str
    temperature: str = ""
    top_p: str = ""
    json: bool = False


PRESETS = (
    Preset(N_("Provider’s own"), N_("nothing is sent, the provider decides")),
    Preset(N_("Precise"), N_("the likeliest words"), temperature="0.2"),
    Preset(N_("Balanced"), N_("some variety"), temperature="0.7", top_p="0.95"),
    Preset(N_("Creative"), N_("much variety"), temperature="1.2"),
    Preset(N_("JSON"), N_("an answer that programs read"), temperature="0", json=True),
)


def _text(value: object, most: int, what: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > most:
        raise BadPrompt(
            _("%(what)s may have up to %(most)s characters.") % {"what": what, "most": f"{most:,}"}
        )
    return value.replace("\x00", "\ufffd")


def _json(value: object, most: int, what: str, shape: JsonLimits) -> tuple[str, object]:
    """JSON as it was written, and what it says; None for what is none."""
    written = _text(value, most, what).strip()
    text = written.encode("utf-8", "replace").decode()  # without lone surrogates
    try:
        return text, strictjson.loads(text.encode(), shape)
    except BadAnswer:
        return text, None


def _schema(value: object) -> str:
    text, document = _json(value, MAX_SCHEMA_CHARS, _("The JSON schema"), _SCHEMA_SHAPE)
    if text and not isinstance(document, dict):
        raise BadPrompt(_("The JSON schema has to be a JSON object."))
    return text


def _tools(value: object) -> tuple[str, list[str]]:
    """The list as it was written, and the names of its functions."""
    text, document = _json(value, MAX_TOOLS_CHARS, _("The list of functions"), _TOOLS_SHAPE)
    if not text:
        return "", []
    if not isinstance(document, list) or not 0 < len(document) <= MAX_TOOLS:
        raise BadPrompt(
            _("Functions are a JSON list of 1 to %(most)s entries.") % {"most": MAX_TOOLS}
        )
    names = [_tool(entry, at + 1) for at, entry in enumerate(document)]
    if len(set(names)) < len(names):
        raise BadPrompt(_("Each function needs a name of its own."))
    return text, names


def _tool(entry: object, number: int) -> str:
    """The name of one of them. What is misspelt is told here: a provider would leave it out."""
    form = _(
        'Function %(number)s has to be {"type": "function", "function": {"name": …, '
        '"description": …, "parameters": …}}.'
    ) % {"number": number}
    if not isinstance(entry, dict) or set(entry) != {"type", "function"}:
        raise BadPrompt(form)
    function = entry["function"]
    if entry["type"] != "function" or not isinstance(function, dict):
        raise BadPrompt(form)
    if not {"name"} <= set(function) <= {"name", "description", "parameters", "strict"}:
        raise BadPrompt(form)
    name = function["name"]
    if not isinstance(name, str) or not tools.NAME.fullmatch(name):
        raise BadPrompt(
            _("The name of function %(number)s has 1 to 64 letters (a to z), digits, _ and -.")
            % {"number": number}
        )
    if not isinstance(function.get("description", ""), str):
        raise BadPrompt(_("The description of “%(name)s” has to be text.") % {"name": name})
    if not isinstance(function.get("parameters", {}), dict):
        raise BadPrompt(
            _("The parameters of “%(name)s” have to be a JSON schema.") % {"name": name}
        )
    if not isinstance(function.get("strict", False), bool | None):
        raise BadPrompt(_("“strict” of “%(name)s” is true or false.") % {"name": name})
    return name


def _choice(value: object, names: list[str]) -> str:
    chosen = _text(value, 64, _("The choice of a function")).strip()
    if not names or not chosen:
        return ""
    if chosen not in CHOICES and chosen not in names:
        raise BadPrompt(
            _("Which function is called: auto, none, required, or the name of one of them.")
        )
    return chosen


def _number(value: object, what: str, most: int) -> str:
    if value is None or value == "":
        return ""
    rule = BadPrompt(
        _("%(what)s is a number from 0 to %(most)s, such as 0.7.") % {"what": what, "most": most}
    )
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise rule
    text = str(value).strip()
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise rule from None
    if len(text) > _MOST_DIGITS or not number.is_finite() or not 0 <= number <= most:
        raise rule
    # Few letters can stand for many digits (1e-99999); as it is stored it must be good again.
    if number and number.adjusted() < -_MOST_DIGITS:
        raise rule
    plain = format(number.normalize(), "f")
    if len(plain) > _MOST_DIGITS:
        raise rule
    return plain


def ticked(value: object) -> bool:
    """A box of a form, or a stored yes."""
    return value in (True, "on", "1", "true")


def whole(value: object, what: str, least: int, most: int) -> int | None:
    """A whole number of a form, or a stored one; None where nothing is said. Raises BadPrompt."""
    if value is None or value == "":
        return None
    rule = BadPrompt(
        _("%(what)s is a whole number from %(least)s to %(most)s.")
        % {"what": _(what), "least": f"{least:,}", "most": f"{most:,}"}
    )
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise rule
    text = str(value).strip()
    if not (text.isascii() and text.isdecimal() and len(text) < 17):
        raise rule
    if not least <= int(text) <= most:
        raise rule
    return int(text)
