"""How numbers and strangers' words are written: exact, cut never rounded, and inert."""

from __future__ import annotations

import ast
import datetime as dt
import json
import re
import shlex
import unicodedata
import weakref

import pytest
from django.template import Context, Template
from django.utils import translation
from hypothesis import given
from hypothesis import strategies as st

from marketplace import formats, links, samples
from marketplace.templatetags import moments, pieces

NEURON = st.integers(min_value=-(10**40), max_value=10**40)
AMOUNTS = st.one_of(NEURON, st.integers(-(10**15), 10**15), st.integers(-(10**20), 10**20))


def neuron_of(text: str) -> int:
    """The amount that a written number means, by decimal arithmetic of its own."""
    sign = -1 if text.startswith(formats.MINUS) else 1
    text, _, places = text.partition(" × 10")
    if places:
        power = int(unicodedata.normalize("NFKC", places)) - 3 + 18
        return sign * int(text.removeprefix(formats.MINUS).replace(".", "") + "0" * power)
    whole, _, rest = text.removeprefix(formats.MINUS).replace(",", "").partition(".")
    return sign * (int(whole) * 10**18 + int(rest.ljust(18, "0") or "0"))


@given(AMOUNTS)
def test_exact_loses_nothing(neuron: int) -> None:
    assert neuron_of(formats.exact(neuron)) == neuron


@given(st.lists(AMOUNTS, max_size=30))
def test_exact_parts_sum_to_the_exact_whole(parts: list[int]) -> None:
    assert sum(neuron_of(formats.exact(part)) for part in parts) == sum(parts)


@given(AMOUNTS)
def test_amount_never_shows_more_than_there_is(neuron: int) -> None:
    shown = formats.amount(neuron)
    if "<" in shown:
        assert 0 < abs(neuron) < 10**12
        return
    assert ("×" in shown) is (abs(neuron) >= formats.MOST)
    assert abs(neuron_of(shown)) <= abs(neuron)
    assert len(shown) <= len("−999,999,999.9999")
    # At least four significant digits survive: the error is below a thousandth.
    assert abs(neuron - neuron_of(shown)) * 1000 <= abs(neuron)
    assert not re.search(r"\.\d*0$", shown)


@pytest.mark.parametrize(
    ("neuron", "shown"),
    [
        (0, "0"),
        (1, "<0.000001"),
        (-1, "−<0.000001"),
        (999_999_999_999, "<0.000001"),
        (10**12, "0.000001"),
        (421_300_000_000_000, "0.0004213"),
        (421_399_999_999_999, "0.0004213"),
        (999_999_999_999_999_999, "0.9999"),
        (12_500_000_000_000_000_000, "12.5"),
        (1_234_567_891_234_567_891_234, "1,234.5678"),
        (-2 * 10**18, "−2"),
        (10**27 - 1, "999,999,999.9999"),
        (10**27, "1.000 × 10⁹"),
        ((2**255 - 1) * 10**6, "5.789 × 10⁶⁴"),
    ],
)
def test_amount_examples(neuron: int, shown: str) -> None:
    assert formats.amount(neuron) == shown


def test_no_text_of_a_stranger_stays_in_memory() -> None:
    class Text(str):
        """A string that can be looked for."""

    said = Text("chatbot of a stranger")
    seen = weakref.ref(said)
    assert formats.prices(said, 1, 2) == formats.prices("", 1, 2)
    del said
    assert seen() is None


@given(st.integers(0, 10**30), st.integers(0, 10**30))
def test_prices_are_multiples_of_what_the_contract_holds(given_price: int, answered: int) -> None:
    inward, outward = formats.prices("chatbot", given_price, answered)
    assert (inward.neuron, outward.neuron) == (given_price * 10**6, answered * 10**6)
    (image,) = formats.prices("text-to-image", given_price, answered)
    assert image.neuron == answered
    (minute,) = formats.prices("speech-to-text", given_price, answered)
    assert minute.neuron == max(given_price, answered) * 60


@given(st.integers(-(10**6), 10**9))
def test_countdown_is_never_negative_and_never_longer_than_the_time(seconds: int) -> None:
    sizes = {"d": 86_400, "h": 3_600, "min": 60, "s": 1}
    words = formats.countdown(seconds).split()
    total = sum(
        int(value) * sizes[unit] for value, unit in zip(words[::2], words[1::2], strict=True)
    )
    assert 0 <= total <= max(0, seconds)
    assert len(words) <= 4


def test_time_in_words() -> None:
    now = dt.datetime(2026, 5, 1, 12, tzinfo=dt.UTC)

    def ago(**parts: int) -> str:
        return formats.relative(now - dt.timedelta(**parts), now)

    assert ago(seconds=0) == "now"
    assert ago(seconds=59) == "59 s ago"
    assert ago(minutes=3, seconds=59) == "3 min ago"
    assert ago(days=6) == "6 d ago"
    assert ago(days=20) == "11 Apr 2026"
    with translation.override("de"):
        assert ago(days=20) == "11. April 2026"
        assert "1. Mai 2026 12:00 UTC" in moments.moment(now)
        assert formats.date(now) == "1. Mai 2026"
    assert ago(minutes=-3) == "in 3 min"
    assert formats.absolute(now) == "2026-05-01T12:00:00Z"


def test_counts_in_words() -> None:
    assert [formats.count(n) for n in (0, 9_999, 10_000, 12_449, 3_190_000)] == [
        "0",
        "9,999",
        "10.0k",
        "12.4k",
        "3.1M",
    ]
    assert formats.percentage(1, 3) == "33.33 %"
    assert formats.percentage(0, 0) == formats.UNKNOWN


@given(st.text())
def test_plain_text_holds_nothing_that_reorders_hides_or_breaks_encoding(text: str) -> None:
    shown = formats.plain(text)
    shown.encode()
    assert not re.search(
        "[\x00-\x08\x0e-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2066-\u2069\ufeff]", shown
    )
    assert formats.plain(shown) == shown


def test_plain_text_keeps_words_and_emoji() -> None:
    words = "Qwen 2.5 – 模型 👩‍🔬 naïve"
    assert formats.plain(words) == words
    assert formats.plain("a\u202egpj.exe") == "a\ufffdgpj.exe"
    assert len(formats.plain("a" + "\u0301" * 500)) == 3


@given(st.text(), st.integers(1, 50))
def test_clip_keeps_the_beginning(text: str, length: int) -> None:
    shown = formats.clip(text, length)
    assert len(shown) <= length
    assert shown == text or (shown.endswith("…") and text.startswith(shown[:-1]))


def test_identicon_ignores_spelling_and_tells_addresses_apart() -> None:
    address = "0x8ba1f109551bD432803012645Ac136ddd64DBA72"
    assert formats.identicon(address) == formats.identicon(address.lower())
    assert all(row == row[::-1] for row in formats.identicon(address).rows)
    pictures = {formats.identicon(f"0x{n:040x}") for n in range(200)}
    assert len(pictures) > 195


@given(st.text())
def test_strangers_json_never_raises(text: str) -> None:
    assert isinstance(formats.json_object(text), dict)
    assert formats.pretty_json(text) is None or formats.json_object(text) is not None


def test_deep_json_is_refused_not_followed() -> None:
    assert formats.json_object("[" * 100_000) == {}
    assert formats.pretty_json('{"a":' * 100_000) is None
    assert formats.json_object('{"n": ' + "9" * 5_000 + "}") == {}


# --- links and samples: strangers' words in paths, shells and programs ---------------------------


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "//evil.example",
        "https://user:secret@host.example",
        "https://host.example/\n-o /etc/passwd",
        "https://host.example/'; rm -rf ~ #",
        "https://host.example:99999999",
        "http://[::1",
        "https://хост.example",
        "",
    ],
)
def test_what_is_no_plain_web_address_is_not_offered(url: str) -> None:
    assert links.web_url(url) is None


def test_web_addresses() -> None:
    assert links.web_url("https://host.example:8443/base/") == "https://host.example:8443/base"
    assert links.web_url("http://127.0.0.1:3080") == "http://127.0.0.1:3080"


@pytest.mark.parametrize("model", ["", ".", "..", "/", "../..", "a\x00b"])
def test_names_that_browsers_fold_away_get_no_page(model: str) -> None:
    assert links.model_path(model) == ""


def test_model_paths_are_one_segment() -> None:
    path = links.model_path("meta/llama?x=#y\n")
    assert path == "/models/meta%2Fllama%3Fx%3D%23y%0A"


HOSTILE = [
    "$(touch /tmp/x)",
    "'; rm -rf ~ #",
    '"; import os #',
    "`id`",
    "@/etc/passwd",
    "\u202e",
    "\n\n",
]


@pytest.mark.parametrize("model", HOSTILE)
@pytest.mark.parametrize(
    "kind", ["chatbot", "text-to-image", "image-editing", "speech-to-text", "embedding"]
)
def test_samples_quote_a_hostile_model(kind: str, model: str) -> None:
    provider = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
    relayed = samples.relayed(kind, "https://site.example", model, provider)
    direct = samples.direct(kind, "https://host.example", model, provider)
    for name, (curl, python, *others) in ((f"{model}@{provider}", relayed), (model, direct)):
        words = shlex.split(curl.text)
        assert words[0] == "curl"
        assert ("images/edits" in curl.text) == (kind == "image-editing")
        if kind in ("speech-to-text", "image-editing"):
            assert words[words.index("--form-string") + 1] == f"model={name}"
        else:
            assert json.loads(words[words.index("-d") + 1])["model"] == name
        strings = [node.value for node in _constants(python.text)]
        assert name in strings
        assert ("embeddings" in python.text) == (kind == "embedding")
        for script in others:
            assert json.dumps(name) in script.text
            assert script.text.isascii() and python.text.isascii()


def _constants(source: str) -> list[ast.Constant]:

    return [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)]


def test_words_that_are_kept_are_kept_for_one_language_each() -> None:
    for language, unit, verb in (
        ("en", "token", "Watch"),
        ("de", "Token", "Beobachten"),
        ("en", "token", "Watch"),
    ):
        with translation.override(language):
            (price, _) = formats.prices("chatbot", 10**9, 10**9)
            star = pieces.star("1-0x", "<a>")
        assert price.each_unit == unit and f'title="{verb}"' in star
        assert price.short_unit == "1M" and "<a>" not in star


def test_a_constant_is_translated_in_the_language_of_who_reads() -> None:
    """`templatetags.words`, beside what Django's own tag does with everything else."""
    page = Template(
        '{% translate "Watch" %}|{% translate given %}|{% translate "Watch"|upper %}|'
        '{% translate "Watch" as kept %}{{ kept }}|{% translate "100%" %}|{% translate "<b>" %}'
    )
    for language, verb in (("en", "Watch"), ("de", "Beobachten"), ("en", "Watch")):
        with translation.override(language):
            said = page.render(Context({"given": "<Watch>"}))
        assert said == f"{verb}|&lt;Watch&gt;|{verb.upper()}|{verb}|100%|<b>"
