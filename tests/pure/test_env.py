"""Wrong variables: one line that names the variable, and never repeats a secret or a whole file."""

from __future__ import annotations

import os
import runpy
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from marketplace.env import Env
from runner.check import DEPLOYED

SECRET = "n0t-f0r-l0gs"
#: What ends up in the wrong variable.
PASTED = (
    f"postgresql://app:{SECRET}@db:5432/market",
    f"https://rpc.example:port/v2/{SECRET}",
    f"rpc.example/v2/{SECRET}",
    f"redis://:{SECRET}@cache:6379/0",
    "x" * 100_000,
    "9" * 400,
    "-1",
    "two\nlines",
)
READS: tuple[Callable[[Env], Any], ...] = (
    lambda env: env.integer("X", 1),
    lambda env: env.boolean("X"),
    lambda env: env.choice("X", ("a", "b"), "a"),
    lambda env: env.address("X"),
    lambda env: env.addresses("X"),
    lambda env: env.urls("X", kinds="ws"),
    lambda env: env.origin("X", ""),
    lambda env: env.subset("X", ("a", "b")),
    lambda env: env.private_key("X"),
    lambda env: env.neuron("X", 1),
    lambda env: env.sender("X", ""),
)


@pytest.mark.parametrize("value", PASTED, ids=lambda value: value[:20])
def test_what_was_pasted_into_the_wrong_variable_is_not_told(value: str) -> None:
    for read in READS:
        with pytest.raises(ImproperlyConfigured) as wrong:
            read(Env({"X": value}))
        said = str(wrong.value)
        assert said.startswith("X") and "\n" not in said and len(said) < 300, said
        if "://" in value or read is READS[5]:
            assert SECRET not in said


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    file = tmp_path / "field_keys"
    file.write_bytes(bytes(range(256)))
    with pytest.raises(
        ImproperlyConfigured, match=r"^FIELD_KEYS_FILE: the file it names is no text"
    ):
        Env({"FIELD_KEYS_FILE": str(file)}).items("FIELD_KEYS")


def test_a_whole_number_has_an_end() -> None:
    """A time of so many days or seconds would overflow later, in a worker."""
    for value in ("100", "٣"):
        with pytest.raises(ImproperlyConfigured, match="0 to 99"):
            Env({"X": value}).integer("X", 1, most=99)
    assert Env({"X": "99"}).integer("X", 1, most=99) == 99


def test_an_origin_is_what_browsers_send() -> None:
    def origin(value: str) -> str:
        return Env({"SITE_URL": value}).origin("SITE_URL", "")

    assert origin("https://Market.Example:443/") == "https://market.example"
    assert origin("http://[::1]:8000") == "http://[::1]:8000"
    for value in ("https://münchen.example", "https://*.example", "https://my_host", "http://"):
        with pytest.raises(ImproperlyConfigured, match=r"^SITE_URL"):
            origin(value)
    # A path is not repeated, since it may be a key: without it the value would look right.
    with pytest.raises(ImproperlyConfigured, match=r"^SITE_URL ends with its host .* leave out"):
        origin("https://market.example/shop")


def test_a_public_sites_session_is_no_cookie_of_a_neighbours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = Path(__file__).resolve().parents[2] / "marketplace/settings.py"
    for url, name in (("https://a.example", "__Host-sessionid"), ("http://[::1]", "sessionid")):
        monkeypatch.setenv("SITE_URL", url)
        found = runpy.run_path(str(settings))
        assert found["SESSION_COOKIE_NAME"] == name
        # What a browser asks of the prefix, beside the path, which is Django's.
        assert found["SESSION_COOKIE_SECURE"] == url.startswith("https:")
        assert "SESSION_COOKIE_DOMAIN" not in found


def test_a_mistyped_address_is_refused() -> None:
    """It would be somebody else's, whom the site then pays or goes on to probe."""
    good = "0xE70830508dAc0A97e6c087c75f402f9Be669E406"
    for written in (good, good.lower(), f"0x{good[2:].upper()}"):
        assert Env({"X": written}).address("X") == good
        assert Env({"X": f" {written} ,"}).addresses("X") == {good}
    with pytest.raises(ImproperlyConfigured, match=r"^X='.*' has a wrong checksum; look for"):
        Env({"X": f"{good[:-1]}7"}).address("X")


def test_a_private_key_is_one_of_the_curve() -> None:
    for value in ("0" * 64, "f" * 64):
        with pytest.raises(ImproperlyConfigured, match=r"^SITE_WALLET_KEY"):
            Env({"SITE_WALLET_KEY": value}).private_key("SITE_WALLET_KEY")


def test_a_sender_holds_an_address() -> None:
    """Else the first mail of an alert finds out."""
    good = ("a@b.example", "0G Market <no-reply@market.example>", "Ä, Ö <x@localhost>", "a@mail")
    for value in good:  # the last as a network of one's own has them
        assert Env({"X": value}).sender("X", "") == value
    for value in (
        "bad value",
        "0G Market",
        "no-reply@",
        "M <a@b.example> x",
        "<>",
        "a@b c@d.example",
    ):
        with pytest.raises(ImproperlyConfigured, match=r"^X='.*' holds no mail address; write it"):
            Env({"X": value}).sender("X", "")
    assert Env({}).sender("X", "a@127.0.0.1") == "a@127.0.0.1"


@pytest.mark.parametrize(
    ("read", "good", "bad"),
    [
        (lambda e: e.header("X"), "x-key: a b", ("https://api.example/x", "x-key: //a", "key")),
        (lambda e: e.folder("X"), "/srv/data", ("data", "~/data", "./data")),
        (
            lambda e: e.base_url("X"),
            "https://a.example/b",
            ("https://a.example/?k=1", "https://a/#b"),
        ),
        (lambda e: e.bearer("X"), "aB1~+/=", ("two words", "Schlüssel", "a\nb")),
        (lambda e: e.dsn("X"), "https://k@host:1/2", ("https://k@host:port/2", "https://k@host")),
        (lambda e: e.mail("X").host, "smtp://host:2525", ("smtp://host:0", "smtp://host:port")),
        (lambda e: e.contacts("X"), "mailto:a@b, https://c/d", ("mailto:", "https://", "tel:1")),
        (lambda e: e.contacts("X", ("tel",)), "tel:+49-30-1", ("tel:", "tel:home", "mailto:a@b")),
        (lambda e: e.contacts("X", most=1), "mailto:a@b", ("mailto:a@b,mailto:c@d",)),
    ],
)
def test_what_cannot_work_is_refused_at_the_start(
    read: Callable[[Env], Any], good: str, bad: tuple[str, ...]
) -> None:
    """Each was taken, and failed in the middle of work, or was left out without a word."""
    assert read(Env({"X": good})) and not read(Env({}))
    for value in bad:
        with pytest.raises(ImproperlyConfigured, match=r"^X"):
            read(Env({"X": value}))


def test_nobody_can_put_a_hosts_domain_on_the_list_of_browsers() -> None:
    """`preload` is consent: with it every stranger may hand the domain in, for months."""
    with patch.dict(os.environ, DEPLOYED, clear=True):
        made = runpy.run_path("marketplace/settings.py")
    assert made["SECURE_HSTS_SECONDS"] == 31_536_000 and not made["SECURE_HSTS_PRELOAD"]


def test_threads_find_settings_while_a_test_replaces_them() -> None:
    """Of the tests themselves: what else was asked at that moment failed for want of any."""
    missed: list[BaseException] = []
    over = threading.Event()

    def read() -> None:
        while not over.is_set() and not missed:
            try:
                assert not settings.DEBUG
            except AttributeError as error:
                missed.append(error)

    reader, interval = threading.Thread(target=read), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        reader.start()
        for _ in range(100_000):
            settings._wrapped = settings._wrapped  # type: ignore[misc]
    finally:
        sys.setswitchinterval(interval)
        over.set()
        reader.join()
    assert not missed
