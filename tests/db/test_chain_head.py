"""What the footer says about freshness."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.conf import settings

from chain import selectors
from chain.models import Head
from marketplace.freshness import banner, judge

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)

pytestmark = pytest.mark.django_db


def head(*, checked: float | None, worked: float, **fields: Any) -> selectors.Freshness:
    """The freshness of a head that agreed `checked` and moved `worked` seconds ago."""
    Head.objects.create(
        chain_id=settings.CHAIN_ID,
        head_block=100,
        indexed_timestamp=1_000_000,
        checked_at=None if checked is None else NOW - timedelta(seconds=checked),
        updated_at=NOW - timedelta(seconds=worked),
        **{"indexed_block": 90, "final_block": 88, **fields},
    )
    return selectors.head(NOW)


@pytest.mark.parametrize(
    ("checked", "worked", "fields", "state"),
    [
        (1, 1, {}, "fresh"),
        (40, 40, {}, "late"),
        (400, 400, {}, "stale"),
        (400, 2, {}, "late"),  # at work, catching up
        (None, 2, {}, "late"),
        (None, 400, {}, "stale"),
        (1, 1, {"halted": True, "error": "why"}, "halted"),
        (None, 1, {"indexed_block": -1}, "never"),
    ],
)
def test_states(checked: float | None, worked: float, fields: dict[str, Any], state: str) -> None:
    found = head(checked=checked, worked=worked, **fields)
    assert found.state == state
    assert found.lag_seconds == checked
    assert found.lag_blocks == 100 - max(-1, fields.get("indexed_block", 90))


@pytest.mark.parametrize(
    ("checked", "fields", "words"),
    [
        (1, {}, "ok"),
        (1, {"error": "late answer"}, "ok"),  # one failed poll is no news
        (40, {}, "late"),
        (40, {"error": "late answer"}, "unreachable"),
        (400, {}, "stale"),
        (1, {"halted": True, "error": "why"}, "unreachable"),
        (None, {"indexed_block": -1}, "none"),
        (None, {"indexed_block": -1, "error": "no answer"}, "unreachable"),
    ],
)
def test_pages_say_it_in_their_words(
    checked: float | None, fields: dict[str, Any], words: str
) -> None:
    found = head(checked=checked, worked=checked or 1, **fields)
    assert judge(found).state == words
    assert found.unreachable == (words == "unreachable")
    above = banner(judge(found))
    assert (above is None) == (words in ("ok", "late", "none"))
    if above is not None:
        known = found.indexed_block >= 0
        until = "newer than block 90; new" if known else ". Nothing is indexed yet."
        assert until in above.text and "ago" not in above.text
    # Ten blocks behind is nothing; a hundred is.
    assert not judge(found).catching_up or found.indexed_block < 0
    assert replace(found, lag_blocks=100).catching_up


def test_nothing_is_known_before_the_first_step(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        assert selectors.head().state == "never"
