"""What logs and Sentry never say."""

from __future__ import annotations

import json
import logging
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketplace import logs, scrub, sentry

KEY = "ab" * 32
SECRETS = {
    "provider key": "app-sk-eyJhIjoxfHwweDEyMw==",
    "personal token": "zgm_" + "Ab-_" * 11,
    "webhook": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "bot": "123456:" + "Ab-_5" * 7,
    "sealed": "gAAAAABm" + "x" * 80 + "==",
    "password in a URL": "hunter2@db.example",
    "signature": "0x" + "12" * 65,
    "private key": "0x" + KEY,
    "mail": "alice@mail.example",
    "shared conversation": "/shared/" + "Ab-_" * 8,
    "private feed": "/account/feed/" + "Ab-_" * 10 + "A.atom",
    "end of mails": "/account/unsubscribe/7-" + "ab" * 12 + ":" + "Ab-_" * 10,
}


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("around", ["%s", "it was '%s', no?", '{"a": "%s"}', "x=%s;", "(%s)\n"])
def test_secrets_that_give_themselves_away_go(name: str, around: str) -> None:
    secret = SECRETS[name]
    given = f"postgresql://user:{secret}/name" if name.startswith("password") else secret
    assert secret not in scrub.text(around % given)


@pytest.mark.parametrize(
    "line",
    [
        "Authorization: Bearer abc.def",
        "headers {'Authorization': 'Basic dXNlcjpwYXNz', 'cookie': 'sessionid=abc.def'}",
        "password=abc.def&x=1",
        "GET https://node.example/v3/abc.def?api_key=abc.def",
        "sessionid=abc.def; csrftoken=abc.def",
    ],
)
def test_named_secrets_go(line: str) -> None:
    said = scrub.text(line)
    assert "abc.def" not in said and "dXNlcjpwYXNz" not in said


@pytest.mark.parametrize("piece", ["a.", "a-", "a", "a@", "a@a", "http://", "cookie ", "0x", "'\""])
def test_a_stranger_cannot_make_a_line_expensive(piece: str) -> None:
    """Hosts and paths are logged as they came. Looked at once from each place, such a line would
    take half an hour."""
    line = piece * (500_000 // len(piece))
    assert len(scrub.text(line)) <= len(line)
    assert len(scrub.outside(line)) <= scrub.MOST


def test_strangers_write_no_lines_of_their_own() -> None:
    record = logging.makeLogRecord(
        {"msg": "it said: %s", "args": ("a\r\nERROR forged\x1b[2J\x85",), "exc_text": "at\nb"}
    )
    said = logs.Line("%(message)s").format(record)
    assert said == "it said: a\\x0d\\x0aERROR forged\\x1b[2J\\x85\nat\nb"
    try:
        raise ValueError("no\nERROR forged\x1b[2J\x9b2J")
    except ValueError:
        record = logging.makeLogRecord({"msg": "failed", "exc_info": sys.exc_info()})
    first, *rest = logs.Line("%(message)s").format(record).split("\n")
    assert first == "failed" and rest[-1] == "  ERROR forged\\x1b[2J\\x9b2J"
    assert all(line.startswith("  ") for line in rest)
    written = logs.Json().format(record)
    assert written.isprintable() and "\x9b2J" in json.loads(written)["exception"]


def test_a_line_of_text_says_why() -> None:
    said = {"error": "node 1:\nHTTP 502", "tries": 3, "request": object(), "color_message": "\x1b["}
    record = logging.makeLogRecord({"msg": "waiting for the node", **said})
    line = logs.Line("%(message)s").format(record)
    assert line == "waiting for the node (error: node 1:\\x0aHTTP 502, tries: 3)"


def test_what_an_operator_needs_stays() -> None:
    for line in (
        "block 4512332 has two parents",
        "the standby does not answer: connection refused",
        "indexed 1,234 of 5,678 (final 1,200), 90 blocks/s",
        "provider 0x70997970C51812dc3A010C7d01b50e0d17dc79C8 timed out",
    ):
        assert scrub.text(line) == line
    assert scrub.text(f"hash 0x{KEY}").startswith("hash 0xabababab")
    assert scrub.text("https://u:p@ss@one.example/") == "https://one.example"
    assert scrub.text("at https://u:p@one.example:8545/key?x=1") == "at https://one.example:8545"


def test_a_sentence_that_leaves_is_short_and_quotes_nobody() -> None:
    prompt = "tell me about the results of my blood test"
    for sentence in (
        f"cannot parse '{prompt}'",
        f'invalid input: "{prompt}"',
        f"duplicate key\nDETAIL:  Key (text)=({prompt}) exists.",
        f"bad DETAIL: Failing row contains (1, {prompt}).",
    ):
        assert "blood" not in scrub.outside(sentence)
    assert len(scrub.outside("x" * 5_000)) == scrub.MOST


@given(st.text(max_size=400))
def test_any_text_can_be_scrubbed(text: str) -> None:
    assert len(scrub.outside(text)) <= scrub.MOST
    assert scrub.text(scrub.text(text)) is not None


def test_a_line_of_json_names_its_request_and_holds_no_strangers() -> None:
    record = logging.makeLogRecord(
        {
            "name": "a.logger",
            "levelname": "WARNING",
            "msg": "key %s",
            "args": (SECRETS["provider key"],),
            "provider": "0x12",
            "status": 503,
            "request": object(),
            "body": {"prompt": "secret"},
        }
    )
    token = logs.current.set("req-1")
    try:
        assert logs.WithRequest().filter(record)
    finally:
        logs.current.reset(token)
    line = json.loads(logs.Json().format(record))
    assert line["request_id"] == "req-1" and line["status"] == 503 and line["provider"] == "0x12"
    assert line["message"] == f"key {scrub.REMOVED}"
    assert "request" not in line and "body" not in line and line["time"].endswith("Z")


def test_an_event_leaves_with_code_only() -> None:
    word = "my-secret-prompt"
    frame = {"function": "f", "lineno": 3, "vars": {"text": word}, "context_line": "raise X"}
    event = {
        "event_id": "1",
        "level": "error",
        "server_name": word,
        "user": {"id": word},
        "request": {"method": "POST", "data": word, "cookies": word, "url": f"/accounts/{word}"},
        "extra": {"a": word},
        "breadcrumbs": {"values": [{"message": word}]},
        "contexts": {"x": word},
        "modules": {},
        "logentry": {"message": "failed %s", "params": [word]},
        "exception": {"values": [{"type": "E", "value": "no", "stacktrace": {"frames": [frame]}}]},
        "something_new": word,
        "transaction": f"/accounts/{word}",
        "transaction_info": {"source": "url"},
    }
    out = sentry.clean(event)  # type: ignore[arg-type]
    assert word not in json.dumps(out)
    found = json.loads(json.dumps(out))
    assert found["exception"]["values"][0]["stacktrace"]["frames"][0]["lineno"] == 3
    assert found["request"] == {"method": "POST"} and found["logentry"]["message"] == "failed %s"
