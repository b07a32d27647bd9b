"""Settings and functions of chats: what may be set, what a provider may answer, how it is told."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference import tools, wire
from inference.errors import BadPrompt
from inference.options import MAX_TOOLS, MOST_TOKENS, Options
from inference.tools import Calls, ToolCall, ToolResult

WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Of a town",
        "parameters": {"type": "object", "properties": {"town": {"type": "string"}}},
        "strict": True,
    },
}
TIME = {"type": "function", "function": {"name": "get-time"}}


def sent(options: Options, *taken: Any, **more: Any) -> Any:
    """What goes out, as a provider reads it."""
    return json.loads(orjson.dumps(options.wire(*taken, **more)))


def test_a_list_of_functions_goes_out_as_it_was_written() -> None:
    written = json.dumps([WEATHER, TIME], indent=1)
    plain = Options.of({"tools": f"\n{written} ", "tool_choice": " "})
    assert plain.tools == written and sent(plain) == {"tools": [WEATHER, TIME]}
    assert sent(plain, ("tools", "seed")) == sent(plain) and plain.wire(("seed",)) == {}
    for choice in ("auto", "none", "required"):
        assert Options.of({"tools": written, "tool_choice": choice}).wire()["tool_choice"] == choice
    named = Options.of({"tools": written, "tool_choice": "get-time"})
    wanted = {"type": "function", "function": {"name": "get-time"}}
    assert named.wire()["tool_choice"] == wanted
    # a choice among functions that are not sent would be refused
    assert named.wire(("tool_choice",)) == {} and "tool_choice" not in named.wire(("tools",))
    assert Options.of(named.stored()) == named and named.changed == 2
    assert Options.of({"tools": "", "tool_choice": "get-time"}) == Options()
    # whoever gives a result wants an answer, not the same call for ever
    assert sent(named, results=True) == sent(plain)
    never = Options.of({"tools": written, "tool_choice": "none"})
    assert never.wire(results=True)["tool_choice"] == "none"


@given(st.integers(-(10**200), 10**200), st.decimals(-(10**30), 10**30, places=25))
def test_no_number_of_a_schema_becomes_another(whole: int, decimal: Decimal) -> None:
    """Amounts of tokens have more than 64 bits; a model would be held to another one."""
    schema = f'{{"minimum": {whole},\n "maximum": {decimal:f}}}'
    functions = changed(parameters={"x": 1}).replace('{"x": 1}', schema)
    asked = Options.of({"schema": schema, "tools": functions})
    body = wire.request_body(model="m", messages=(), max_tokens=1, options=asked.wire())
    assert body.count(schema.encode()) == 2 and json.loads(body)["tools"] == json.loads(functions)


def changed(**function: Any) -> str:
    return json.dumps([{"type": "function", "function": {**WEATHER["function"], **function}}])


@pytest.mark.parametrize(
    "wrong",
    [
        "{}", "[]", "[1]", "[", json.dumps(WEATHER), json.dumps([WEATHER["function"]]),
        json.dumps([{**WEATHER, "more": 1}]), json.dumps([{**WEATHER, "type": "x"}]),
        json.dumps([{"type": "function", "function": "get_weather"}]),
        json.dumps([{"type": "function", "function": {}}]),
        changed(name=""), changed(name="a b"), changed(name="x" * 65), changed(name=7),
        changed(name="grüße"), changed(name="a\n"), changed(paramaters={}), changed(description=1),
        changed(parameters=[]), changed(parameters="{}"), changed(strict="yes"),
        json.dumps([WEATHER, WEATHER]), json.dumps([WEATHER] * (MAX_TOOLS + 1)),
        f'[{"[" * 40}{"]" * 40}]', json.dumps([WEATHER]) + " " * 16_000 + "x",
    ],
)  # fmt: skip
def test_what_is_no_such_list_is_told_by_its_rule(wrong: str) -> None:
    with pytest.raises(BadPrompt) as caught:
        Options.of({"tools": wrong})
    assert len(caught.value.sentence) > 15
    with pytest.raises(BadPrompt):
        Options.of({"tools": wrong, "tool_choice": "auto"})


@pytest.mark.parametrize("choice", ["get_time", "any", "x" * 65, {"type": "function"}])
def test_only_a_function_of_the_list_can_be_chosen(choice: object) -> None:
    with pytest.raises(BadPrompt):
        Options.of({"tools": json.dumps([WEATHER]), "tool_choice": choice})


def read(*chunks: Any) -> tuple[ToolCall, ...]:
    """The calls of a stream whose chunks have these `tool_calls`."""
    calls = Calls()
    for chunk in chunks:
        event = json.dumps({"choices": [{"delta": {"tool_calls": chunk}}]}).encode()
        for part in wire.read_event(event).calls:
            calls.take(part)
    return calls.found


def part(index: int | None = 0, **function: Any) -> dict[str, Any]:
    call_id = function.pop("id", None)
    return {
        **({} if index is None else {"index": index}),
        **({} if call_id is None else {"id": call_id, "type": "function"}),
        "function": function,
    }


def test_calls_come_in_pieces_by_index() -> None:
    pieces = ['{"to', 'wn":"B', 'onn"}']
    found = read(
        [part(0, id="a", name="get_weather", arguments="")],
        *[[part(0, arguments=text)] for text in pieces],
        [part(1, id="b", name="get-time"), part(0, arguments=" ")],
        [part(1, arguments="{}")],
    )
    assert found == (
        ToolCall("a", "get_weather", '{"town":"Bonn"} '),
        ToolCall("b", "get-time", "{}"),
    )


def test_calls_of_careless_providers_are_told_apart() -> None:
    whole = [part(None, id=x, name=f"f{x}", arguments="{}") for x in "ab"]
    two = (ToolCall("a", "fa", "{}"), ToolCall("b", "fb", "{}"))
    assert read(*[[x] for x in whole]) == read(whole) == two  # none numbered
    assert read(*[[{**x, "index": 0}] for x in whole]) == two  # all numbered alike
    # the name said again, arguments as JSON itself, no id
    again = part(0, id="a", name="f", arguments="1")
    assert read([again], [{**again, "function": {"name": "f", "arguments": "2"}}]) == (
        ToolCall("a", "f", "12"),
    )
    assert read([part(name="f", arguments={"a": 10**30})]) == (
        ToolCall("call_1", "f", f'{{"a":{10**30}}}'),
    )
    body = {"choices": [{"message": {"content": None, "tool_calls": [*whole, "x"]}}]}
    calls = Calls()
    for said in wire.read_body(json.dumps(body).encode()).calls:
        calls.take(said)
    assert calls.found == two


def test_calls_without_ids_at_one_place_are_told_apart() -> None:
    """As by Ollama's older versions and proxies before it; a client of OpenAI's would glue them."""
    one, two = '{"town": "Bonn"}', '{"town": "Köln"}'
    both = (ToolCall("call_1", "f", one), ToolCall("call_2", "f", two))
    for place in (0, None):
        parts = [part(place, name="f", arguments=text) for text in (one, two)]
        assert read(parts) == read(*[[x] for x in parts]) == both
        # the name with each piece, or an id that comes late
        cut = [part(place, name="f", arguments=x) for x in (one[:9], one[9:], two[:9], two[9:])]
        assert read(*[[x] for x in cut]) == both
        late = [part(place, name="f"), part(place, id="late", name="f", arguments=one)]
        assert read(*[[x] for x in late], [part(place, name="f", arguments="")]) == both[:1]
        other = part(place, name="g", arguments="")
        assert read([parts[0]], [other]) == (both[0], ToolCall("call_2", "g", ""))


def test_no_call_is_read_again_with_each_of_its_parts() -> None:
    """A provider could have us read half a megabyte ten thousand times."""
    calls = Calls()
    for _ in range(5_000):
        calls.take(tools.Part(0, "", "f", '{"x": "' + "x" * 90 + '"}}'))
    assert len(calls) == 1 and calls._all[0].looks == 0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=5),
    lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=9), x, max_size=3),
    max_leaves=8,
)
FUNCTION = st.fixed_dictionaries({}, optional={"name": JSON, "arguments": JSON})
HOSTILE = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "index": JSON,
            "id": JSON,
            "function": FUNCTION | JSON,
        },
    ),
    max_size=4,
)  # fmt: skip


@given(st.lists(HOSTILE | JSON, max_size=8))
def test_no_shape_surprises(chunks: list[Any]) -> None:
    try:
        found = read(*chunks)
    except wire.BadStream:  # an integer no parser takes
        return
    for call in found:
        assert call.id and call.name and call.shown.split() is not None
        assert json.dumps([call.wire(), call.sound])
    assert tools.calls(tools.pack(found)) == found


def test_endless_calls_are_bounded() -> None:
    many = [part(n, id=str(n), name="f" * 999) for n in range(200)]
    found = read(many, many)
    assert len(found) == tools.MAX_CALLS and len(found[0].name) == tools.MAX_NAME_CHARS
    assert read([part(2**63, id="x", name="f")], [part(-1, id="y", name="g")])[1].name == "g"


def test_a_deep_list_is_not_blown_up() -> None:
    """A provider would have two hundred thousand characters become millions, for every reader."""
    written = '{"a":' + "[" * 22 + ",".join(["1"] * 9_000) + "]" * 22 + "}"
    assert ToolCall("a", "f", written).shown == written
    assert ToolCall("a", "f", '{"a":[[[[1]]]]}').shown.count("\n") == 10


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ('{"a":1,"b":["x"]}', '{\n  "a": 1,\n  "b": [\n    "x"\n  ]\n}'),
        ('{"a": "\\u00fc"}', '{\n  "a": "ü"\n}'),
        ("{}", "{}"),
        ('{"to": "me", "to": "you"}', None),  # one of both would be lost
        ('{"amount": 1.00}', None),
        ('{"amount": 123456789012345678901234567890}', None),
        ('{"a": 1', None),
        ("x" * 9, None),
        ("[" * 99 + "]" * 99, None),
        ("", None),
    ],
)
def test_arguments_are_laid_out_only_where_nothing_of_them_changes(
    written: str, shown: str | None
) -> None:
    assert ToolCall("a", "f", written).shown == (written if shown is None else shown)


def test_only_what_a_server_can_read_again_is_told_as_a_call() -> None:
    sound = [ToolCall("a", "get-x_1", text) for text in ("{}", "", ' {"a": 1}')]
    assert all(call.sound for call in sound)
    assert [call.wire()["function"]["arguments"] for call in sound] == ["{}", "{}", ' {"a": 1}']
    unsound = [("f", "[]"), ("f", '{"a":'), ("a b", "{}"), ("", "{}"), ("f" * 65, "{}")]
    assert not any(ToolCall("a", name, text).sound for name, text in unsound)


@given(st.text(max_size=40), st.text(max_size=40))
def test_the_size_bounds_what_is_sent(text: str, content: str) -> None:
    call = ToolCall("id", "get_weather", text)
    result = ToolResult("id", "get_weather", content)
    said = [
        wire.Message("assistant", "", calls=(call,)),
        wire.Message("tool", content, result_of="id"),
    ]
    sent = wire.request_body(model="", messages=said, max_tokens=1)
    assert len(sent) - len(wire.request_body(model="", messages=(), max_tokens=1)) <= tools.size(
        [call], [result]
    )
    unanswered = wire.Message("tool", tools.NO_RESULT, result_of="id")
    sent = wire.request_body(model="", messages=[said[0], unanswered], max_tokens=1)
    assert len(sent) - 150 <= tools.size([call], [])


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": "2.1"}, {"temperature": "-0.1"}, {"temperature": "nan"},
        {"temperature": "1e400"}, {"temperature": True}, {"temperature": []},
        {"temperature": "0,7"}, {"temperature": "1e-7"}, {"temperature": "1e-99999"},
        {"top_p": "1.01"}, {"max_tokens": "0"}, {"max_tokens": "1.5"},
        {"max_tokens": str(MOST_TOKENS + 1)}, {"max_tokens": "٣"}, {"seed": "-1"},
        {"seed": 2**53}, {"seed": True}, {"stop": ["a"] * 5}, {"stop": ["x" * 65]},
        {"stop": {"a": 1}}, {"system": "x" * 8001}, {"system": 5}, {"schema": "[1]"},
        {"schema": "{"}, {"schema": '{"a":' * 30 + "1" + "}" * 30}, {"schema": {"type": "object"}},
        {"schema": f'{{"a": "{"x" * 8000}"}}'},
    ],
)  # fmt: skip
def test_wrong_settings_are_told_by_their_rule(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadPrompt) as caught:
        Options.of(wrong)
    assert len(caught.value.sentence) > 15
