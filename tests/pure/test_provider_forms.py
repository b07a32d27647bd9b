"""Forms as clients write them, and as attackers do."""

from __future__ import annotations

import email.parser
import email.policy
from itertools import pairwise
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from urllib3.filepost import encode_multipart_formdata

from provider.errors import Refused
from provider.forms import Form, read_form

ONCE = ("model", "prompt", "n", "response_format")
NAMES = st.sampled_from(["image", "mask", "image[]", "user", "size"])
FILES = st.tuples(NAMES, st.tuples(st.just("a b.png"), st.binary(max_size=80)))
FIELDS = st.dictionaries(
    st.sampled_from(ONCE), st.text(st.characters(codec="utf-8"), max_size=30), max_size=4
)


@given(FIELDS, st.lists(FILES, max_size=3))
def test_what_a_client_writes_is_what_is_read(
    fields: dict[str, str], files: list[tuple[str, tuple[str, bytes]]]
) -> None:
    parts: list[Any] = [*fields.items(), *files]
    if not parts:
        return
    body, kind = encode_multipart_formdata(parts)
    form = read_form(body, kind, once=ONCE)
    assert {name: form.text(name) for name in fields} == fields
    read = [(p.name, bytes(form.data(p))) for p in form.parts if p.filename is not None]
    assert read == [(name, content) for name, (_, content) in files]


@given(
    FIELDS, st.lists(FILES, min_size=1, max_size=2), st.text(st.sampled_from("ab c"), max_size=9)
)
def test_a_changed_field_is_the_only_change(
    fields: dict[str, str], files: list[tuple[str, tuple[str, bytes]]], value: str
) -> None:
    parts: list[Any] = [*fields.items(), *files]
    body, kind = encode_multipart_formdata(parts)
    form = read_form(body, kind, once=ONCE)
    assert form.replaced({}) == body
    changed = read_form(form.replaced({"model": value}), kind, once=ONCE)

    def others(read: Form) -> list[tuple[str, bytes]]:
        return [(p.name, bytes(read.data(p))) for p in read.parts if p.name != "model"]

    assert changed.text("model") == value and others(changed) == others(form)


def test_another_parser_reads_the_same() -> None:
    """Ours against the standard library's parser of MIME, on a form with awkward bytes."""
    sound = b'\r\n--\x00\xff--\r\nname="n"\r\n\r\n10'
    request = requests.Request(
        "POST",
        "http://x",
        data={"model": "m", "prompt": "a\nb --x"},
        files={"file": ("ü.wav", sound)},
    ).prepare()
    kind, body = request.headers["Content-Type"], request.body
    assert isinstance(body, bytes)
    form = read_form(body, kind, once=ONCE)
    parser = email.parser.BytesParser(policy=email.policy.HTTP)
    message = parser.parsebytes(f"Content-Type: {kind}\r\n\r\n".encode() + body)
    theirs = [part.get_payload(decode=True) for part in message.iter_parts()]
    assert [bytes(form.data(part)) for part in form.parts] == theirs
    assert theirs[-1] == sound


BODY, KIND = encode_multipart_formdata(
    [("model", "m"), ("n", "2"), ("image", ("x.png", b"\x89PNG\r\n")), ("prompt", "cat")],
    boundary="xyz",
)


@given(st.lists(st.integers(0, len(BODY)), min_size=2, max_size=2, unique=True))
def test_a_damaged_form_never_reads_as_more(cuts: list[int]) -> None:
    """Any run of bytes cut out: it is refused, or every field it still has is a plain one."""
    for start, end in pairwise(sorted(cuts)):
        try:
            form = read_form(BODY[:start] + BODY[end:], KIND, once=ONCE)
        except Refused as refusal:
            assert refusal.status == 400
            continue
        assert len(form.parts) <= 4
        assert sum(part.name == "n" for part in form.parts) <= 1


@given(st.binary(max_size=300))
def test_hostile_bytes_are_refused_politely(noise: bytes) -> None:
    for body in (noise, b"--xyz\r\n" + noise, BODY[:40] + noise + BODY[40:]):
        try:
            read_form(body, KIND, once=ONCE)
        except Refused as refusal:
            assert refusal.status == 400


@pytest.mark.parametrize("end", [b"\r\n", b"\n", b"x", b"\r\n\r\n"])
def test_nothing_follows_the_end(end: bytes) -> None:
    assert read_form(BODY, KIND, once=ONCE).text("n") == "2"
    if end == b"\r\n":
        assert BODY.endswith(b"--\r\n")
        assert read_form(BODY[:-2], KIND, once=ONCE).text("n") == "2"
        return
    with pytest.raises(Refused, match="follows its end"):
        read_form(BODY[:-2] + end, KIND, once=ONCE)
