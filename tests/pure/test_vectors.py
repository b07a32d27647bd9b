"""Embeddings: only vectors that can be compared are taken, whatever a provider sends, and what they
say about two texts is right."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.errors import BadPrompt
from inference.media import vectors
from inference.media.vectors import Embedded, NoVectors, Wish
from protocol.fees import Tariff, Tier


def answer(*rows: Any, **more: Any) -> bytes:
    data = [{"object": "embedding", "index": i, "embedding": row} for i, row in enumerate(rows)]
    return json.dumps({"data": data, **more}).encode()


def test_vectors_come_in_the_order_of_their_texts() -> None:
    body = json.dumps(
        {
            "data": [{"index": 1, "embedding": [0, 2.5]}, {"index": 0, "embedding": [1, -1e-9]}],
            "usage": {"prompt_tokens": 7, "total_tokens": 9},
        }
    ).encode()
    found = vectors.read_answer(body, 2)
    assert found == Embedded(((1.0, -1e-9), (0.0, 2.5)), 7)
    assert found.dimension == 2
    # without numbers they are in order, and nobody has to count
    bare = json.dumps({"data": [{"embedding": [1]}, {"embedding": [2]}]}).encode()
    assert vectors.read_answer(bare, 2) == Embedded(((1.0,), (2.0,)))


HOSTILE: dict[str, tuple[bytes, str]] = {
    "no JSON": (b"<html>It works</html>", "not JSON"),
    "NaN": (b'{"data":[{"embedding":[NaN]},{"embedding":[1]}]}', "not JSON"),
    "infinity": (b'{"data":[{"embedding":[1e999]},{"embedding":[1]}]}', "not JSON"),
    "deep": (b"[" * 50_000, "nested deeper"),
    "another object": (b'{"data":{"0":[1]}}', "no list of vectors"),
    "no object": (b"[[1],[2]]", "no list of vectors"),
    "too few": (answer([1]), "1 vectors for 2 texts"),
    "too many": (answer([1], [2], [3]), "3 vectors for 2 texts"),
    "twice the same": (
        b'{"data":[{"index":0,"embedding":[1]},{"index":0,"embedding":[1]}]}',
        "not numbered",
    ),
    "a number beyond": (
        b'{"data":[{"index":0,"embedding":[1]},{"index":2,"embedding":[1]}]}',
        "not numbered",
    ),
    "true for a number": (
        b'{"data":[{"index":0,"embedding":[1]},{"index":true,"embedding":[1]}]}',
        "not numbered",
    ),
    "rows of something else": (b'{"data":[1,2]}', "not numbered"),
    "base64": (answer("AACAPw==", "AACAPw=="), "no list of numbers"),
    "empty": (answer([], []), "no list of numbers"),
    "strings": (answer(["1"], ["2"]), "something else than numbers"),
    "booleans": (answer([True], [1]), "something else than numbers"),
    "null": (answer([1], [None]), "something else than numbers"),
    "lists in lists": (answer([[1]], [[2]]), "something else than numbers"),
    "beyond doubles when multiplied": (answer([1e200], [1]), "something else than numbers"),
    "lengths": (answer([1, 2], [1]), "different lengths"),
    "huge": (answer([0] * 8193, [0] * 8193), "more than 8,192 numbers"),
    "many": (answer([0] * 200_000, [1]), "more than"),
    "large": (b'{"data":"' + b"x" * (7 << 20) + b'"}', "more than"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_is_no_vector_is_said(what: str) -> None:
    body, said = HOSTILE[what]
    with pytest.raises(NoVectors, match=said):
        vectors.read_answer(body, 2)


@pytest.mark.parametrize("usage", [None, [], {"prompt_tokens": -1}, {"prompt_tokens": 1.5}])
def test_a_count_that_is_none_leaves_the_vectors(usage: Any) -> None:
    assert vectors.read_answer(answer([1], usage=usage), 1).tokens is None


def test_likeness_is_the_cosine_and_no_direction_has_none() -> None:
    rows: Any = vectors.cosines([(1, 0), (2, 2), (-3, 0), (0, 0), (1e-300, 0)])
    assert rows[0] == (1.0, pytest.approx(math.sqrt(0.5)), -1.0, None, 1.0)
    assert rows[3] == (None,) * 5
    assert [vectors.closest(row, i) for i, row in enumerate(rows)] == [4, 0, 1, None, 0]
    assert vectors.closest((1.0,), 0) is None


numbers = st.floats(-1e100, 1e100, allow_nan=False)


@given(st.integers(1, 6).flatmap(
    lambda size: st.lists(st.lists(numbers, min_size=size, max_size=size), min_size=1, max_size=6)
))  # fmt: skip
def test_no_vectors_break_the_matrix(rows: list[list[float]]) -> None:
    found = vectors.cosines(vectors.read_answer(answer(*rows), len(rows)).vectors)
    for i, row in enumerate(found):
        assert all(value is None or -1 <= value <= 1 for value in row)
        assert [line[i] for line in found] == list(row)


def test_each_line_is_a_text_and_the_rules_are_said() -> None:
    wish = Wish.of({"texts": " one \r\n\n two\x00 \n \nhalf \ud800", "verified": "on"})
    assert wish == Wish(("one", "two\ufffd", "half ?"), verified=True)
    assert Wish.of(wish.stored()) == wish
    # what parts lines elsewhere does not here: the page counts, and prices, by returns alone
    assert Wish.of({"texts": "one\x0cmore\u2028end\rtwo"}).texts == ("one\x0cmore\u2028end", "two")
    assert json.loads(wish.body("m")) == {
        "model": "m", "input": ["one", "two\ufffd", "half ?"], "encoding_format": "float"
    }  # fmt: skip
    for texts, said in (
        (" \n", "at least one text"),
        ("a\n" * 21, "These are 21 texts; up to 20"),
        ("a\n" + "b" * 2001, "Text 2 is longer than 2,000 characters"),
    ):
        with pytest.raises(BadPrompt, match=said):
            Wish.of({"texts": texts})


def test_at_most_every_byte_is_a_token() -> None:
    assert vectors.most(Tariff(3, 1000), 10, 2) == 3 * (10 + 2 * 4)
    assert vectors.most(Tariff(2**255, 0), 10, 2) == 2**256 - 1
    # few tokens in a dear tier cost more than all of them beyond it
    dear = Tariff(3, 1000, tiers=(Tier(10, 100), Tier(1_000)))
    assert vectors.most(dear, 10, 2) == 3 * 10 * 100
    # a ligature of 3 bytes that many tokenizers read as 18 letters, a note that all others do
    assert (vectors.weight("a\ufdfa"), vectors.weight("\U0001d160"), vectors.weight("한é")) == (
        34,
        12,
        5,
    )
    assert Wish.of({"texts": "a\ufdfa\nb"}).size == 35


def test_files_hold_every_digit_and_no_formula() -> None:
    found = Embedded(((-0.1, 1e-7), (2.0, 0.30000000000000004)), 3)
    table = vectors.render(["=1+1", 'a "b"'], found, "csv", {}).decode()
    assert table == ('text,1,2\r\n\'=1+1,-0.1,1e-07\r\n"a ""b""",2.0,0.30000000000000004\r\n')
    # Excel in German ends cells at semicolons, and lines within quotes that do not begin a cell.
    later = vectors.render(['a, b;=1+1;"@x', "c;d\n+1"], found, "csv", {}).decode()
    assert later.split("\r\n")[1:] == [
        '"a, b;\'=1+1;""\'@x",-0.1,1e-07',
        '"c;d\n\'+1",2.0,0.30000000000000004',
        "",
    ]
    document = json.loads(vectors.render(["=1+1", "b"], found, "json", {"requests": [1]}))
    assert document["vectors"][0] == {"text": "=1+1", "embedding": [-0.1, 1e-7]}
    assert (document["dimension"], document["requests"]) == (2, [1])
