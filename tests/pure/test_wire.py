"""The chat wire: events survive every chunking, and hostile bytes end in BadStream, never in a
surprise.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference import failures, wire
from inference.wire import BadStream, EventParser, Message

LINE_END = st.sampled_from([b"\n", b"\r\n", b"\r"])


def cut(data: bytes, places: list[int]) -> list[bytes]:
    marks = sorted({p % (len(data) + 1) for p in places} | {0, len(data)})
    return [data[a:b] for a, b in pairwise(marks)]


def parse(pieces: list[bytes]) -> list[bytes]:
    parser = EventParser()
    return [event for piece in pieces for event in parser.feed(piece)]


@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=30), max_size=8
    ),
    LINE_END,
    st.lists(st.integers(0, 10_000), max_size=40),
    st.booleans(),
)
def test_any_chunking_gives_the_same_events(
    texts: list[str], end: bytes, places: list[int], bom: bool
) -> None:
    stream = b"\xef\xbb\xbf" if bom else b""
    for text in texts:
        stream += b": comment" + end + b"event: x" + end + b"data: " + text.encode() + end + end
    expected = [text.encode() for text in texts]
    assert parse(cut(stream, places)) == expected
    assert parse([stream[i : i + 1] for i in range(len(stream))]) == expected


@given(st.lists(st.binary(max_size=40), max_size=30))
def test_chunking_never_matters_for_hostile_bytes_either(pieces: list[bytes]) -> None:
    assert parse(pieces) == parse([b"".join(pieces)])


def test_lines_of_one_event_join_and_the_unfinished_last_event_is_not_one() -> None:
    assert parse([b"data: a\ndata:b\ndata\n\ndata: c"]) == [b"a\nb\n"]
    assert parse([b"data: a\r", b"\n\r", b"\ndata: b\r\r"]) == [b"a", b"b"]
    assert parse([b"\n\n\ndata: a\n\n\n"]) == [b"a"]


def test_a_line_without_end_is_refused_in_linear_time() -> None:
    parser = EventParser()
    started = time.process_time()
    with pytest.raises(BadStream):
        for _ in range(wire.MAX_EVENT_BYTES + 1):
            parser.feed(b"x")
    assert time.process_time() - started < 3


def test_an_event_without_end_is_refused() -> None:
    parser = EventParser()
    with pytest.raises(BadStream):
        for _ in range(wire.MAX_EVENT_BYTES):
            parser.feed(b"data: 0123456789\n")


def chunk(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def test_chunks_are_read() -> None:
    assert wire.read_event(b" [DONE] ").done
    piece = wire.read_event(
        chunk(
            choices=[{"delta": {"role": "assistant", "content": "Hi\x00"}, "finish_reason": "stop"}]
        )
    )
    assert (piece.text, piece.finish_reason) == ("Hi\ufffd", "stop")
    piece = wire.read_event(chunk(choices=[], usage={"prompt_tokens": 3, "completion_tokens": 4}))
    assert piece.usage is not None
    assert (piece.usage.prompt_tokens, piece.usage.completion_tokens) == (3, 4)
    assert wire.read_event(chunk(error={"message": "out of memory"})).error == "out of memory"
    assert (
        wire.read_event(chunk(choices=[{"delta": {"reasoning_content": "hm"}}])).reasoning == "hm"
    )
    assert wire.read_body(chunk(choices=[{"message": {"content": "whole"}}])).text == "whole"


@pytest.mark.parametrize(
    "document",
    [
        {"choices": None},
        {"choices": {}},
        {"choices": [None]},
        {"choices": [[]]},
        {"choices": [{"delta": None}]},
        {"choices": [{"delta": []}]},
        {"choices": [{"delta": {"content": 7}}]},
        {"choices": [{"delta": {"content": ["x"]}}]},
        {"choices": [{"finish_reason": {"a": 1}}]},
        {"usage": {"prompt_tokens": -1, "completion_tokens": 2}},
        {"usage": {"prompt_tokens": 1.5, "completion_tokens": 2}},
        {"usage": {"prompt_tokens": True, "completion_tokens": 2}},
        {"usage": {"prompt_tokens": 2**60, "completion_tokens": 2}},
        {"usage": [1]},
    ],
)
def test_wrong_shapes_say_nothing(document: dict[str, Any]) -> None:
    assert wire.read_event(json.dumps(document).encode()) == wire.Piece()


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"[]", b"1", b"null", b'"x"', b"{", b"[" * 100_000]
)
def test_what_is_no_chunk_is_refused(data: bytes) -> None:
    with pytest.raises(BadStream):
        wire.read_event(data)


@given(st.binary(max_size=200))
def test_no_bytes_surprise_the_readers(data: bytes) -> None:
    assert len(wire.read_error(data)) <= wire.MAX_ERROR_CHARS
    for read in (wire.read_event, wire.read_body):
        try:
            piece = read(data)
        except BadStream:
            continue
        assert isinstance(piece, wire.Piece)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (r"a \ud83d", "a \ufffd"),
        (r"\uDE00\n", "\ufffd\n"),
        (r"\ud83d\ud83d\ude00!", "\ufffd😀!"),
        (r"\ud83dx \\ud83d \\\ude00", "\ufffdx \\ud83d \\\ufffd"),
    ],
)
def test_a_character_cut_in_half_costs_no_answer(written: str, read: str) -> None:
    chunk = b'{"choices":[{"delta":{"content":"%s"}}]}'
    events = [chunk % b"Hello", chunk % written.encode(), chunk % b"end"]
    assert "".join(x.text for x in wire.ChunkReader().read(events)) == f"Hello{read}end"
    called = b'{"tool_calls":[{"function":{"name":"f","arguments":["%s"]}}]}' % written.encode()
    (part,) = wire.read_event(b'{"choices":[{"delta":%s}]}' % called).calls
    assert json.loads(part.arguments) == [read]
    with pytest.raises(wire.BadStream):  # a stranger's may be all there is
        wire.read_event(chunk % (written.encode() * 20_000))


def test_the_request_bounds_its_cost_and_asks_for_usage() -> None:
    body = wire.request_body(
        model="m",
        messages=[Message("user", "ü")],
        max_tokens=7,
        options={"stream": False, "top_p": 1},
    )
    assert json.loads(body) == {
        "model": "m",
        "messages": [{"role": "user", "content": "ü"}],
        "top_p": 1,
        "max_tokens": 7,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


@pytest.mark.parametrize(
    ("status", "text", "kind"),
    [
        (
            400,
            "validate request: insufficient balance: your locked balance is 1.0 0G, but …",
            "not_funded",
        ),
        (402, "pay first", "not_funded"),
        (400, "validate session: session token expired", "key_rejected"),
        (400, "validate session: session token has been revoked", "key_rejected"),
        (401, "", "key_rejected"),
        (400, "user not acknowledge the provider, please use …", "not_acknowledged"),
        (400, "validate request: service not acknowledge the tee signer", "not_acknowledged"),
        (410, 'model "x" is no longer available (expired at …)', "model_gone"),
        (413, "Request body size exceeds the maximum allowed size of 32MB", "too_long"),
        (400, "This model's maximum context length is 8192 tokens", "too_long"),
        (429, "Rate limit exceeded.", "rate_limited"),
        (503, "Service Unavailable", "busy"),
        (500, "insufficient balance", "provider_error"),
        (302, "", "provider_error"),
        (404, "404 page not found", "refused"),
    ],
)
def test_failures_are_told_apart(status: int, text: str, kind: str) -> None:
    assert failures.of_status(status, text).kind == kind


def test_the_quick_way_cuts_as_the_slow_one_does() -> None:
    """Whatever the bytes and however they are cut: line by line, at once, byte by byte."""
    chosen = random.Random(11)
    parts = [
        b"data: {}", b"data:x", b"data: a\ndata: b", b": hello", b"", b"\n", b"event: m", b"\r",
        b"data: y\r", b"\r\n", b"data: [DONE]", b"data", b"\xef\xbb\xbfdata: z", b"d", b"\n\n\n",
    ]  # fmt: skip
    for _ in range(3000):
        data = b"".join(
            chosen.choice(parts) + b"\n" * chosen.randint(0, 3) for _ in range(chosen.randint(1, 8))
        )
        slow, expected = wire.EventParser(), []
        for i in range(len(data)):
            expected += slow.feed(data[i : i + 1])
        quick, found, at = wire.EventParser(), [], 0
        while at < len(data):
            step = chosen.randint(1, 12)
            found += quick.feed(data[at : at + step])
            at += step
        assert found == expected, data
        assert wire.EventParser().feed(b"\n" + data) == wire.EventParser().feed(b"\r" + data)


@given(st.data())
def test_the_quick_reader_says_what_the_slow_one_says(data: st.DataObject) -> None:
    """Chunks of one shape with any string in them, written in any way JSON knows, and others."""
    text = st.text(max_size=6)
    shapes = (
        lambda t, ascii: chunk(choices=[{"delta": {"content": t}, "index": 0}]),
        lambda t, ascii: json.dumps(
            {"choices": [{"delta": {"content": t}, "finish_reason": None}]}, ensure_ascii=ascii
        ).encode(),
        lambda t, ascii: json.dumps({"id": t, "choices": [{"delta": {"content": t}}]}).encode(),
        lambda t, ascii: chunk(choices=[{"delta": {"reasoning_content": t}}]),
        lambda t, ascii: chunk(choices=[{"delta": {"content": t}, "finish_reason": "stop"}]),
        # What closes the string early, ends it late, or is no JSON at all.
        lambda t, ascii: b'{"choices":[{"delta":{"content":"' + t.encode() + b'"},"index":0}]}',
        lambda t, ascii: chunk(choices=[], usage={"prompt_tokens": 1, "completion_tokens": 2}),
        lambda t, ascii: b"[DONE]",
    )
    ways = st.tuples(st.sampled_from(shapes), text, st.booleans())
    # Mostly the same shape, as in a stream: only then is one learnt.
    favourite = data.draw(st.sampled_from(shapes[:4]))
    events = [
        (shape if odd else favourite)(said, ascii)
        for (shape, said, ascii), odd in data.draw(
            st.lists(st.tuples(ways, st.sampled_from([False, False, True])), max_size=30)
        )
    ]
    assert read_all(wire.ChunkReader().read, events) == read_all(slowly, events)


def slowly(events: list[bytes]) -> Iterator[wire.Piece]:
    for event in events:
        yield (piece := wire.read_event(event))
        if piece.done:
            return


def read_all(read: Callable[[list[bytes]], Iterator[wire.Piece]], events: list[bytes]) -> Any:
    """Both texts, what else was said in its order, and whether it ended in an error."""
    pieces: list[wire.Piece] = []
    broken = False
    try:
        for piece in read(events):
            pieces.append(piece)
    except wire.BadStream:
        broken = True
    rest = [p._replace(text="", reasoning="") for p in pieces]
    return (
        "".join(p.text for p in pieces),
        "".join(p.reasoning for p in pieces),
        [p for p in rest if p != wire.Piece()],
        broken,
    )


def test_a_shape_is_learnt_and_then_only_the_string_is_parsed() -> None:
    events = [chunk(choices=[{"delta": {"content": word}}]) for word in ("one ", "two", ' "3"')]
    assert list(wire.ChunkReader().read(events)) == [wire.Piece("one "), wire.Piece('two "3"')]


@pytest.mark.parametrize("word", [",", ", ", ":", ": "])
def test_a_word_that_also_parts_the_fields_breaks_nothing(word: str) -> None:
    """What Hypothesis found: the place it was looked for at first was between two fields."""
    spaced = {",": (",", ":"), ":": (",", ":")}.get(word, (", ", ": "))
    chunks = [
        {"id": text, "object": "chunk", "choices": [{"delta": {"content": text}}]}
        for text in (word, "and", word)
    ]
    events = [json.dumps(one, separators=spaced).encode() for one in chunks]
    assert read_all(wire.ChunkReader().read, events) == (f"{word}and{word}", "", [], False)


def test_a_string_that_closes_itself_early_is_read_as_the_whole_chunk_says() -> None:
    plain = b'{"choices":[{"delta":{"content":"%s"}}]}'
    trick = plain % b'a","content":"b'
    events = [plain % b"one", plain % b"two", trick, plain % b"\xff"]
    reader = wire.ChunkReader().read(events)
    assert [next(reader), next(reader), next(reader)] == [
        wire.Piece("one"),
        wire.Piece("two"),
        wire.Piece("b"),
    ]
    with pytest.raises(wire.BadStream):
        next(reader)


@pytest.mark.parametrize(
    ("shape", "texts"),
    [
        # A key in the place of the text: what counts stands beside it.
        ('{"reasoning": "PROBE", "TEXT": "reasoning_content"}', ("reasoning_content", "a", "b")),
        ('{"content": "PROBE", "TEXT": "content"}', ("content", "a", "b")),
        ('{"content": "PROBE", "content": "TEXT", "TEXT": 1}', ("content", "a", "content")),
        # An empty text, beside which another field counts.
        ('{"reasoning": "other", "reasoning_content": "TEXT"}', ("a", "", "b", "")),
    ],
)
def test_a_shape_made_to_mislead_is_read_as_its_chunks_say(
    shape: str, texts: tuple[str, ...]
) -> None:
    """Also with whatever string the reader was ever known to try."""
    for probe in ("a string that stands in no answer", "", "0" * 64):
        events = [
            shape.replace("PROBE", probe)
            .replace("TEXT", text)
            .join(('{"choices": [{"delta": ', "}]}"))
            .encode()
            for text in texts
        ]
        assert read_all(wire.ChunkReader().read, events) == read_all(slowly, events)


@pytest.mark.parametrize("repeated", [200, 40_000])
def test_a_text_that_stands_everywhere_is_looked_for_in_few_places(
    repeated: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each try reads the chunk again: counted, because a machine may be slow."""
    reads: list[int] = []
    read = wire.read_event

    def counted(data: bytes) -> wire.Piece:
        reads.append(len(data))
        return read(data)

    monkeypatch.setattr(wire, "read_event", counted)
    data = chunk(x=["a"] * repeated, choices=[{"delta": {"content": "a"}}])
    assert list(wire.ChunkReader().read([data]))
    assert len(reads) <= 6
