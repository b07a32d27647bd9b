"""Functions that a model may ask to have called (OpenAI's `tools` and `tool_calls`): gathered from
the pieces of an answer, kept with it, shown, and told to a provider again. Pure.

Nothing is run here, ever: a person does that elsewhere, and gives the result.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import orjson

from net import strictjson
from net.errors import BadAnswer
from net.limits import JsonLimits

#: Calls that one answer may make; more is more than we take.
MAX_CALLS = 64
NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
#: Of what a provider calls a function and a call; all else of an answer is bounded together.
MAX_NAME_CHARS = 200
#: What a model is told of a call whose result nobody gave: servers refuse one without any.
NO_RESULT = "[no result was given]"
#: Laid out, arguments may be so many times as long, and so many characters longer: the lines of a
#: deep list are mostly indent.
_TIMES, _MORE = 4, 1_000
_ARGUMENTS = JsonLimits(max_depth=24, max_bytes=1 << 20)
#: So often one call is looked at for whether its arguments are whole: each look reads them all.
_LOOKS = 4
#: Of a call and its result in a request, what is neither their words nor their names.
_AROUND = 150


class Part(NamedTuple):
    """What one chunk says of one call. `place` tells calls apart, where the provider gives it."""

    place: int | None
    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class ToolCall:
    """A function that an answer asks to have called, with `arguments` as the model wrote them."""

    id: str
    name: str
    arguments: str

    @property
    def shown(self) -> str:
        """The arguments with lines and indents, where that changes nothing else of them (of a name
        that is there twice, or a number in an odd form, all is shown as it was written) and does
        not blow them up.
        """
        try:
            document = strictjson.loads(self.arguments.encode("utf-8", "replace"), _ARGUMENTS)
        except BadAnswer:
            return self.arguments
        forms = (
            json.dumps(document, ensure_ascii=ascii, separators=separators)
            for ascii in (False, True)
            for separators in ((",", ":"), (", ", ": "))
        )
        if self.arguments.strip() not in forms:
            return self.arguments
        laid = json.dumps(document, ensure_ascii=False, indent=2)
        return laid if len(laid) <= _TIMES * len(self.arguments) + _MORE else self.arguments

    @property
    def words(self) -> str:
        """The call as text, for a model that is not told of functions."""
        return f"[called {self.name}({self.arguments})]"

    @property
    def sound(self) -> bool:
        """Whether it can be told as a call again: servers and the templates of models read the
        arguments of earlier calls, and fail where they are no JSON object.
        """
        try:
            found = strictjson.loads(self._object.encode("utf-8", "replace"), _ARGUMENTS)
        except BadAnswer:
            return False
        return isinstance(found, dict) and NAME.fullmatch(self.name) is not None

    @property
    def _object(self) -> str:
        return self.arguments if self.arguments.strip() else "{}"

    def wire(self) -> dict[str, Any]:
        said = {"name": self.name, "arguments": self._object}
        return {"id": self.id, "type": "function", "function": said}


@dataclass(frozen=True)
class ToolResult:
    """What came out of a call, as its person gives it; `id` and `name` are the call's."""

    id: str
    name: str
    content: str

    @property
    def words(self) -> str:
        """The result as text, for a model that is not told of functions."""
        return f"[result of {self.name}]\n{self.content}"


@dataclass
class _Growing:
    id: str
    name: str
    arguments: list[str]
    #: Whether the provider gave the id.
    given: bool = True
    looks: int = _LOOKS

    def goes_on(self, part: Part) -> bool:
        """Whether a part at the same place says more of this call, rather than begin another.

        By the format only the first part of a call has a name, so that clients go by the place
        alone. But some providers count all places 0 (Ollama's, where it has no parser for a model),
        and some give no ids; others repeat the name with every part.
        """
        if not part.name:
            return True
        if part.id and self.given:
            return part.id == self.id
        if part.name[:MAX_NAME_CHARS] != self.name:
            return False
        return not (part.arguments or part.id) or not self._whole

    @property
    def _whole(self) -> bool:
        """Whether the arguments are an object that has ended."""
        if not self.looks or not self.arguments[-1].rstrip().endswith("}"):
            return False
        self.looks -= 1
        try:
            text = "".join(self.arguments).encode("utf-8", "replace")
            return isinstance(strictjson.loads(text, _ARGUMENTS), dict)
        except BadAnswer:
            return False


@dataclass
class Calls:
    """Puts the calls of an answer together, in the order in which they begin."""

    _all: list[_Growing] = field(default_factory=list)
    _at: dict[int | None, int] = field(default_factory=dict)

    def take(self, part: Part) -> tuple[int, bool]:
        """Which call the part belongs to, from 1, and whether it begins it; (0, False) where it
        belongs to none: a call begins with its name.
        """
        number = self._at.get(part.place, 0)
        known = self._all[number - 1] if number else None
        if known is None or not known.goes_on(part):
            if not part.name:
                return 0, False
            number = len(self._all) + 1
            name = part.name[:MAX_NAME_CHARS]
            # Without an id no result could name it.
            call_id = part.id[:MAX_NAME_CHARS] or f"call_{number}"
            self._all.append(_Growing(call_id, name, [part.arguments], bool(part.id)))
            self._at[part.place] = number
            return number, True
        known.arguments.append(part.arguments)
        return number, False

    def __len__(self) -> int:
        return len(self._all)

    def called(self, number: int) -> tuple[str, str]:
        """Id and name of one, as they are kept."""
        call = self._all[number - 1]
        return call.id, call.name

    @property
    def found(self) -> tuple[ToolCall, ...]:
        return tuple(ToolCall(x.id, x.name, "".join(x.arguments)) for x in self._all[:MAX_CALLS])


def parts(value: object, *, whole: bool = False) -> tuple[Part, ...]:
    """What the `tool_calls` of a chunk, or of a `whole` answer, say; nothing for whatever is none.
    (One more than MAX_CALLS is enough to see that they are too many.)
    """
    if not isinstance(value, list):
        return ()
    found = []
    for at, given in enumerate(value[: MAX_CALLS + 1]):
        said = given.get("function") if isinstance(given, dict) else None
        if not isinstance(said, dict):
            continue
        index = given.get("index")
        place = at if whole else index if type(index) is int else None
        found.append(Part(place, _text(given.get("id")), _text(said.get("name")), _written(said)))
    return tuple(found)


def _written(said: dict[str, Any]) -> str:
    """The arguments: text by the format, JSON itself from some servers."""
    given = said.get("arguments")
    if given is None or isinstance(given, str):
        return _text(given)
    return json.dumps(given, ensure_ascii=False, separators=(",", ":"))


def as_values(value: object) -> bool:
    """Whether some arguments in a `tool_calls` are JSON itself, whose numbers a parser may change:
    what was asked for has to be known to the last digit (amounts of tokens have more than 64 bits).
    """
    calls = value if isinstance(value, list) else ()
    said = (x.get("function") for x in calls if isinstance(x, dict))
    found = (x.get("arguments") for x in said if isinstance(x, dict))
    return not all(x is None or isinstance(x, str) for x in found)


def _text(value: object) -> str:
    return value.replace("\x00", "\ufffd") if isinstance(value, str) else ""


def pack(rows: Sequence[ToolCall] | Sequence[ToolResult]) -> bytes:
    """For a sealed column; b"" for none."""
    made = [{k: _whole(v) for k, v in asdict(row).items()} for row in rows]
    return orjson.dumps(made) if made else b""


def _whole(text: str) -> str:
    # Lone surrogates (JSON can carry them) have no UTF-8 form.
    return text.encode("utf-8", "replace").decode()


def calls(packed: bytes) -> tuple[ToolCall, ...]:
    return tuple(ToolCall(**row) for row in orjson.loads(packed or b"[]"))


def results(packed: bytes) -> tuple[ToolResult, ...]:
    return tuple(ToolResult(**row) for row in orjson.loads(packed or b"[]"))


def size(made: Sequence[ToolCall], given: Sequence[ToolResult]) -> int:
    """The most bytes that calls and results take in a request, which is JSON."""
    return sum(
        _AROUND + len(orjson.dumps([x.id, x.id, x.name, x.arguments or "{}"])) for x in made
    ) + sum(_AROUND + len(orjson.dumps([x.id, x.name, x.content])) for x in given)
