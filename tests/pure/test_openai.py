"""What `/v1` reads of requests and answers, without a server."""

from __future__ import annotations

import json
from contextlib import ExitStack

import orjson
import pytest

from inference.openai import asks, outcome, room
from inference.openai.errors import ApiError
from inference.openai.outcome import Tail
from protocol.fees import Tariff

_TYPE = "multipart/form-data; boundary=b"


def part(content: bytes, head: bytes = b'name="model"') -> bytes:
    return b"--b\r\nContent-Disposition: form-data; " + head + b"\r\n\r\n" + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--b--\r\n"


MODEL = part(b"m")
GRAIN = part(b"word", b'name="timestamp_granularities[]"')
FILE = part(b"--\r\nbytes\r\n", 'name="file"; filename="grüß;.wav"'.encode() + b"\r\nX-A: b")


@pytest.mark.parametrize("mark", [b"\ndata: [DONE]\n\n", b"\r\ndata:[DONE]\r\n", b"\ndata: [DONE]"])
def test_the_end_of_a_stream_is_a_line_of_its_own_however_it_is_cut(mark: bytes) -> None:
    said = b'data: {"choices":[{"delta":{"content":"it ends with\\ndata: [DONE]"}}]}\n'
    for size in (1, 5, len(said)):
        tail = Tail()
        for at in range(0, len(said), size):
            tail.took(said[at : at + size])
        assert not tail.done, "the answer speaks of the mark"
        for at in range(0, len(mark), size):
            tail.took(mark[at : at + size])
        tail.took(b": what stands behind it\n" * 9)
        assert tail.done
    alone = Tail()
    alone.took(b"data: [DONE]\n\n" + b":\n" * 99)
    assert alone.done


@pytest.mark.parametrize("count", ["0001" + "0" * 5000, "00641", "0", "65", "٣", "1\n"])
def test_the_number_of_pictures_in_a_form_is_bounded(count: str) -> None:
    body = form(MODEL, part(count.encode(), b'name="n"'))
    with pytest.raises(ApiError, match="from 1 to 64"):
        asks.read(asks.EDITS, _TYPE, body)


@pytest.mark.parametrize(
    "hidden",
    [
        part(b"other"),
        part(b"other", b'name="model"; filename="x"'),
        part(b"other", b"name=model; filename=x"),
        part(b"other", b'name="x"; filename=x; name="model"'),
        part(b"other", b'name="model"\r\nX-Long: ' + b"x" * 5000),
        part(b"other" + b" " * 200_000),
        part(b"other", b"name*=utf-8''model"),
        part(b"other", b'name="mod\\el"'),
        part(b"other", b'name="model'),
        part(b"other", b'name="=?utf-8?q?model?="'),
        part(b"other", b'name="x"; name="model"'),
        part(b"other", b'x="a"; name="model"'),
        part(b"other", b'name="x"\r\nContent-Disposition: form-data; name="model"'),
        part(b"other", b'name="x"\r\n folded: y'),
        part(b"b3RoZXI=", b'name="x"\r\nContent-Transfer-Encoding: base64'),
        b'--b\nContent-Disposition: form-data; name="model"\n\nother\r\n',
        b"".join(part(b"", b'name="x%d"' % x) for x in range(200)),
        b"--b--\r\n" + part(b"other", b'name="x"'),
    ],
)
def test_no_model_can_be_hidden_in_a_form(hidden: bytes) -> None:
    with pytest.raises(ApiError, match="form"):
        asks.read(asks.TRANSCRIPTIONS, _TYPE, form(MODEL, FILE, hidden))


@pytest.mark.parametrize(
    "hidden",
    [b'"model": "o"', b'"MODEL": "o"', b'"mod\\u0065l": "o"', b'"Max_To\xe2\x84\xaaens": 9'],
)
def test_no_model_and_no_length_can_be_hidden_in_json(hidden: bytes) -> None:
    """Of a name that is there twice some servers take the first; Go takes it in any letters."""
    plain = b'"messages": [{"role": "user", "content": "model \\u00e9"}], "model": "m"'
    given = b'{%s, %s, "max_tokens": 5, "tools": [{"model": 1, "n": 2}, {"n": 3}]}'
    kind = "application/json"
    assert asks.read(asks.CHAT, kind, given % (b'"user": "x"', plain)).model == "m"
    with pytest.raises(ApiError, match="twice"):
        asks.read(asks.CHAT, kind, given % (hidden, plain))
    for alone in (b'"N": 64', b'"max_completion_to\xe2\x84\xaaens": 9', b'"N_Predict": 9'):
        with pytest.raises(ApiError, match="in other letters"):
            asks.read(asks.CHAT, kind, given % (alone, plain))


@pytest.mark.parametrize("bounded", [True, False])
def test_as_much_is_set_aside_as_the_longest_answer_of_any_server(bounded: bool) -> None:
    def longest(**given: int | None) -> int:
        body = orjson.dumps({"model": "m", "messages": [], **given})
        return asks.read(asks.CHAT, "application/json", body, bounded=bounded).max_tokens

    assert longest(max_completion_tokens=1, max_tokens=9000) == 9000
    assert longest(max_completion_tokens=9000, max_tokens=1) == 9000
    assert longest(max_completion_tokens=None, max_tokens=7) == 7
    # llama.cpp heeds it before the others, and of a number below nothing makes no end.
    assert longest(max_tokens=5, n_predict=9000) == (9000 if bounded else 5)
    assert longest(n_predict=5) == (asks.USUAL_MAX_TOKENS if bounded else 0)
    if bounded:
        with pytest.raises(ApiError, match="n_predict"):
            longest(max_tokens=5, n_predict=-1)
    else:
        assert longest(max_tokens=5, n_predict=-1) == 5


def test_the_forms_of_ordinary_clients_are_read() -> None:
    body = form(MODEL, FILE, part(b"", b'name="language"\r\nContent-Type: text/plain; name=x'))
    for kind in (_TYPE, 'Multipart/form-data;boundary="b"'):
        ask = asks.read(asks.TRANSCRIPTIONS, kind, body)
        assert (ask.model, ask.body, ask.count) == ("m", body, 1)
    bare = part(b"bytes", b"name=file; filename=a.wav; filename*=utf-8''a.wav")  # .NET's
    assert asks.read(asks.TRANSCRIPTIONS, _TYPE, form(bare, MODEL)).model == "m"
    pictures = part(b"1", b'name="image[]"; filename="a.png"') * 2
    assert (
        asks.read(
            asks.EDITS, _TYPE, form(pictures, GRAIN, GRAIN, part(b"64", b"name=n"), MODEL)
        ).count
        == 64
    )
    with pytest.raises(ApiError, match="boundary"):
        asks.read(asks.EDITS, _TYPE + "; boundary=c", body)


def test_what_a_request_holds_beside_what_is_changed_stays_as_it_was_written() -> None:
    """A number beyond 64 bits in a schema would go on as another one."""
    rest = b'"tools": [{"maximum": 123456789012345678901234567890, "step": 1.00}]'
    body = b'{"model": "m@0x%s", %s, "stream": true}' % (b"a" * 40, rest)
    ask = asks.read(asks.CHAT, "application/json", body, bounded=True)
    assert rest.split(b": ", 1)[1] in ask.body and ask.stream
    assert json.loads(ask.body) == {
        **json.loads(body), "model": "m", "max_tokens": asks.USUAL_MAX_TOKENS,
        "stream_options": {"include_usage": True},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "tokens"),
    [
        ("a" * 1000, 1002),  # with tokens that begin and end it, each byte one of its own
        (["\ufdfa" * 100] * 3, 18 * 300 + 6),  # one character, which many read as 18 letters
        ([1] * 500, 500),
        ([[1, 2], [3]], 7),
        ([{"text": "x" * 90}], 90),
    ],
)
def test_the_most_that_embeddings_cost_holds_for_every_tokenizer(
    given: object, tokens: int
) -> None:
    body = orjson.dumps({"model": "m", "input": given})
    ask = asks.read(asks.EMBEDDINGS, "application/json", body)
    assert outcome.most(ask, Tariff(7, 0), 0) >= 7 * tokens
    assert outcome.most(ask, Tariff(7, 0), 0) <= 7 * (len(body) + 8 * tokens)


def test_pictures_to_look_at_are_not_set_aside_as_text() -> None:
    url = "data:image/png;base64," + "A" * 9000
    parts = [{"type": "text", "text": url}, {"type": "image_url", "image_url": {"url": url}}]
    # Of one that the provider fetches nobody here knows the size.
    linked = {"type": "image_url", "image_url": {"url": "https://example.org/" + "A" * 90}}
    film = {"type": "video_url", "video_url": {"url": "https://example.org/a.mp4"}}
    short = {"image_url": "https://example.org/a.png"}  # of which vLLM knows the type
    inside = {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,AA"}}
    cases = (
        (parts, len(url), 0),
        ([linked, 1, {"type": "image_url"}], 0, 1),
        ([film, short, inside], 0, 2),
        (url, 0, 0),
    )
    for content, drawn, fetched in cases:
        messages = ["odd", {"role": "user", "content": content}]
        body = orjson.dumps({"model": "m", "messages": messages, "max_tokens": 5})
        ask = asks.read(asks.CHAT, "application/json", body)
        text = len(body) - drawn
        seen = drawn // 3 + outcome.MOST_PICTURE_TOKENS * fetched
        assert outcome.most(ask, Tariff(7, 3), 0) == 7 * (text + seen) + 3 * 5


@pytest.mark.parametrize("count", [1, 2])
def test_of_several_answers_that_nobody_counted_the_most_is_the_cost(count: int) -> None:
    body = orjson.dumps({"model": "m", "messages": [], "n": count})
    ask = asks.read(asks.CHAT, "application/json", body)
    said = orjson.dumps({"choices": [{"message": {"content": "two words"}}] * count})
    cost = outcome.cost(ask, Tariff(7, 3), said, outcome.of_chat(said), 99)
    assert (cost.fee, cost.kind) == ((6, "estimated") if count == 1 else (99, "unknown"))


def test_no_text_to_embed_takes_longer_than_its_length() -> None:
    """Marks in a wrong order are put right by exchanging neighbours: quadratic in a whole text."""
    given = ["\u0301\u0316" * 500_000, "\ufdfa" * 500_000, *["é"] * 50_000]
    body = orjson.dumps({"model": "m", "input": given})
    assert asks.read(asks.EMBEDDINGS, "application/json", body).beyond > 30 * 500_000


def test_nobody_holds_more_memory_than_a_share() -> None:
    held = room.Room()
    with ExitStack() as stack:
        first = stack.enter_context(held.held("person 1", "address a"))
        second = stack.enter_context(held.held("person 2", "address a"))
        other = stack.enter_context(held.held("person 3", "address b"))
        first(room.SHARE_BYTES - 1)
        with pytest.raises(ApiError, match="Too many"):  # of one address
            second(2)
        second(1)
        for number in range(room.ALL_BYTES // room.SHARE_BYTES - 1):
            more = stack.enter_context(held.held(f"person {number + 4}"))
            more(room.SHARE_BYTES)
        with pytest.raises(ApiError, match="Too many"):
            other(1)
    with held.held("person 3", "address b") as take:
        take(room.SHARE_BYTES)
    with ExitStack() as stack:  # nor does a /48, which costs nothing, hold all
        taken = 0
        with pytest.raises(ApiError, match="Too many"):
            for number in range(room.ALL_BYTES // room.SHARE_BYTES):
                whose = (f"person {number}", f"address 2001:db8:0:{number}::/64")
                stack.enter_context(held.held(*whose, network="2001:db8::/48"))(room.SHARE_BYTES)
                taken += room.SHARE_BYTES
        assert taken == room.ALL_BYTES // 2
        stack.enter_context(held.held("person 9", network="2001:db8:1::/48"))(room.SHARE_BYTES)


@pytest.mark.parametrize(
    ("before", "word"),
    [
        (b": one moment\n\n", b'{"content":"Hi"}'),
        (
            b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n',
            b'{"content":"H"}',
        ),
        (b'data: {"choices":[]}\n\n', b'{"reasoning_content":"Hm"}'),
    ],
)
def test_a_stream_begins_with_its_first_token(before: bytes, word: bytes) -> None:
    beginning = outcome.Beginning()
    first = b'data: {"choices":[{"delta":%s}]}\n\n' % word
    said = [beginning.speaks(before), beginning.speaks(first[:20]), beginning.speaks(first[20:])]
    assert said == [False, False, True]
    broken = outcome.Beginning()
    assert not broken.speaks(b"data: [\n\n") and not broken.speaks(first)


def test_a_body_of_millions_of_values_is_refused_before_it_is_read() -> None:
    """One of 8 MB kept every answer of the process waiting for three seconds, and 500 MB."""
    many = b'{"model":"m","messages":[' + b"{}," * 2_700_000 + b"{}]}"
    names = ",".join(f'"n{number}":1' for number in range(asks.MOST_NAMES)).encode()
    for body, said in ((many, "values"), (b'{"model":"m",' + names + b"}", "names")):
        with pytest.raises(ApiError, match=said):
            asks.read(asks.CHAT, "application/json", body)
    with pytest.raises(ApiError, match="fields"):
        asks.form_fields("multipart/form-data; boundary=x", b"--x" * 1_000_000)
    for read, nothing in ((outcome.of_pictures, None), (outcome.addresses, 0)):
        assert read(b'{"data":[' + b"[]," * 2_700_000 + b"1]}") == nothing
    elsewhere = b'{"data":[{"url":"https://one"},{"url":null},7,{"url":"https://two"}]}'
    assert outcome.of_pictures(elsewhere) is None and outcome.addresses(elsewhere) == 2
