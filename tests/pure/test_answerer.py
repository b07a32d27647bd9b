"""The documentation answerer: it finds, quotes, counts, and says when it has nothing."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from provider.answerer import compose, corpus
from provider.answerer.app import read_ask
from provider.answerer.calls import choose, quoted
from provider.answerer.compose import Turn
from provider.answerer.search import Index, stem, words
from provider.answerer.sight import MAX_PICTURES
from provider.errors import Refused

GUIDE = """# Guide

Some opening words.

## Refunds

A refund waits for a lock of 24 hours.

```
# not a heading
```

## Signatures

Every answer is signed; see [the rules](rules.md).
<!-- hidden remark -->
"""

CODE = '''"""A module docstring that is long enough to be worth quoting to somebody who asks about
caches, and therefore mentions the word lighthouse which nothing else here does."""


def _private() -> None:
    """%s"""
''' % ("secret " * 40)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "README.md").write_text("# Readme\n\nThis project is a marketplace.\n")
    (tmp_path / "CHANGELOG.md").write_text("# Changes\n\nrefund refund refund\n")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "guide.md").write_text(GUIDE)
    (tmp_path / "docs" / "long.md").write_text(
        "# Long\n\n## Part\n\n" + ("para graph. " * 30 + "\n\n") * 9
    )
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "cache.py").write_text(CODE)
    (tmp_path / "app" / "broken.py").write_text("def (")
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules" / "x.py").write_text(CODE)
    return tmp_path


def ask(project: Path, *questions: str) -> str:
    turns = [Turn("user", question) for question in questions]
    return compose.answer(Index(corpus.load(project)), turns)


def test_passages_know_where_they_come_from(project: Path) -> None:
    passages = corpus.load(project)
    by_heading = {p.heading: p for p in passages}
    assert by_heading["Guide › Refunds"].source == "docs/guide.md"
    assert "# not a heading" in by_heading["Guide › Refunds"].text
    assert "hidden" not in by_heading["Guide › Signatures"].text
    assert {p.source for p in passages} == {
        "README.md",
        "docs/guide.md",
        "docs/long.md",
        "app/cache.py",
    }
    assert all(len(p.text) <= corpus.MAX_PASSAGE_CHARS for p in passages)


def test_quotes_the_right_passage_with_its_source(project: Path) -> None:
    said = ask(project, "How long do refunds take?")
    assert said.startswith(compose.NOTICE)
    assert "> A refund waits for a lock of 24 hours." in said and "`docs/guide.md`" in said
    assert "> Every answer is signed; see the rules." in ask(project, "who signs the answers?")
    assert "app/cache.py" in ask(project, "lighthouse cache?")


def test_says_so_when_there_is_nothing(project: Path) -> None:
    said = ask(project, "What is the capital of France?")
    assert "I found no passage" in said and "- Refunds" in said
    assert ask(project, "hello").count("Hello.") == 1
    assert "Hello." in compose.answer(Index([]), []).replace("\n", " ")


def test_a_follow_up_leans_on_the_question_before(project: Path) -> None:
    assert "24 hours" in ask(project, "Tell me about refunds", "why the lock?")
    assert "24 hours" in ask(project, "Tell me about refunds", "and more?")


@given(st.text(max_size=400))
def test_tokens_join_to_the_text(text: str) -> None:
    assert "".join(compose.tokens(text)) == text


@given(st.lists(st.text(max_size=80), max_size=4))
def test_any_conversation_gets_an_answer(questions: list[str]) -> None:
    index = Index([corpus.Passage("docs/a.md", "A › B", "text about ledgers and money")])
    assert compose.answer(index, [Turn("user", q) for q in questions])


def test_forms_of_a_word_meet() -> None:
    assert len({stem(w) for w in ("refund", "refunds", "refunded", "refunding")}) == 1
    assert stem("verified") == stem("verifies")
    assert words("What is the PRICE?") == [stem("price")]


def test_a_long_quote_is_cut_at_a_sentence_and_closes_its_fence() -> None:
    long = "Word word. " * 200
    index = Index([corpus.Passage("docs/a.md", "A › Long word", long)])
    said = compose.answer(index, [Turn("user", "word?")])
    assert len(said) < 1200 and said.count("Word word. …") == 1
    fenced = "Ledger facts:\n```\n" + "ledger = 1\n" * 120 + "```"
    index = Index([corpus.Passage("docs/a.md", "A › Ledger", fenced)])
    said = compose.answer(index, [Turn("user", "ledger facts?")])
    assert said.count("```") == 2


def test_pictures_are_measured_and_nothing_is_made_up(project: Path) -> None:
    def shown(kind: str, size: tuple[int, int] = (640, 480)) -> str:
        out = io.BytesIO()
        Image.new("RGB", size, (30, 60, 200)).save(out, kind)
        return f"data:image/{kind.lower()};base64,{base64.b64encode(out.getvalue()).decode()}"

    def ask_with(*urls: str) -> tuple[str, int]:
        parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
        content = [{"type": "text", "text": "What is this?"}, *parts]
        body = orjson.dumps({"messages": [{"role": "user", "content": content}]})
        read = read_ask(body, "m")
        return compose.answer(Index(corpus.load(project)), read.turns), read.picture_tokens

    text, tokens = ask_with(shown("JPEG"), shown("PNG", (75, 10)))
    assert text.startswith(compose.PICTURES) and tokens == 410 + 1
    assert "A JPEG of 640 × 480 pixels; by area mostly blue (100 %)." in text
    assert "A PNG of 75 × 10" in text
    for bad, why in (
        ("https://example.org/a.png", "fetch nothing"),
        ("data:image/png;base64,aGVsbG8=", "cannot read"),
        ("data:image/png;base64,***", "cannot read"),
        (shown("PNG", (3000, 3000)), "too many for me"),
    ):
        text, tokens = ask_with(bad)
        assert why in text and tokens == 0
    assert ask_with(*[shown("PNG")] * 20)[0].count("640 × 480") == MAX_PICTURES


TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {
                "type": "object",
                "properties": {
                    "town": {"type": "string"}, "days": {"type": "integer"},
                    "unit": {"enum": ["kelvin", "celsius"]}, "wind": {"type": "boolean"},
                },
                "required": ["town", "days", "unit"],
            },
        },
    },
    {"type": "function", "function": {"name": "get_time"}},
]  # fmt: skip


def called(question: str, choice: object = None, *more: object) -> object:
    messages: list[object] = [{"role": "user", "content": question}, *more]
    document = {"messages": messages, "tools": TOOLS, "tool_choice": choice}
    ask = read_ask(orjson.dumps(document), "m")
    call = choose(ask.offer, ask.turns)
    return call and (call.name, orjson.loads(call.arguments))


def test_a_list_of_fixed_values_costs_no_minutes() -> None:
    """Each was looked for in all of the question, while nobody else was answered."""
    fixed = [f"value {n}!" for n in range(100_000)]
    parameters = {"properties": {"which": {"enum": fixed}}}
    tool = {"type": "function", "function": {"name": "pick", "parameters": parameters}}
    for question, chosen in (
        ("é" * 200_000 + fixed[5], fixed[0]),
        (fixed[5], fixed[5]),
        (fixed[100], fixed[0]),
    ):
        document = {"messages": [{"role": "user", "content": question}], "tools": [tool]}
        ask = read_ask(orjson.dumps({**document, "tool_choice": "required"}), "m")
        call = choose(ask.offer, ask.turns)
        assert call is not None and orjson.loads(call.arguments) == {"which": chosen}


def test_functions_are_called_by_a_rule_that_can_be_foreseen() -> None:
    assert called("How are refunds?") is None and called("get_weather", "none") is None
    question = "get_weather in Bonn for 3 days, Celsius"
    told = ("get_weather", {"town": question, "days": 3, "unit": "celsius"})
    assert called(question) == told == called(question, "required")
    assert called("Hello", "required") == (
        "get_weather",
        {"town": "Hello", "days": 0, "unit": "kelvin"},
    )
    named = {"type": "function", "function": {"name": "get_time"}}
    assert called(question, named) == ("get_time", {})
    # its result is quoted, whatever is required
    call = {"id": "a", "type": "function", "function": {"name": "get_time", "arguments": "{}"}}
    said = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a", "content": "noon\nsharp"},
    ]
    assert called(question, "required", *said) is None
    assert "> noon\n> sharp" in quoted([Turn("user", "x"), Turn("tool", "noon\nsharp")])
    assert called("And get_time?", None, *said, {"role": "user", "content": "get_time"})


@pytest.mark.parametrize(
    "wrong",
    [
        {"tools": []}, {"tools": {}}, {"tools": [{"type": "function"}]}, {"tools": [1]},
        {"tools": TOOLS, "tool_choice": "get_time"},
        {"tools": TOOLS, "tool_choice": {"function": {"name": "other"}}},
        {"messages": [{"role": "tool", "tool_call_id": "a", "content": "x"}]},
        {"messages": [{"role": "assistant", "tool_calls": [{"id": "a"}]}]},
        {"messages": [{"role": "assistant", "tool_calls": [{"id": "a"}]},
                      {"role": "user", "content": "x"}]},
        {"messages": [{"role": "assistant", "tool_calls": [{"id": "a"}]},
                      {"role": "tool", "tool_call_id": ["a"], "content": "x"}]},
    ],
)  # fmt: skip
def test_what_other_servers_refuse_of_functions_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(Refused):
        read_ask(orjson.dumps({"messages": [], **wrong}), "m")
