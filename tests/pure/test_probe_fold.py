"""Counting probes: shares over cells, percentiles that were measured, bars that never colour
nothing green."""

from __future__ import annotations

import datetime as dt

from hypothesis import given
from hypothesis import strategies as st

from probes import bars, fold
from probes.fold import CELL, DAY, HOUR, Seen, Tally
from probes.templatetags.health import bar_text, seconds

NOON = dt.datetime(2026, 5, 1, 12, tzinfo=dt.UTC)
STATES = st.sampled_from(["up", "degraded", "down"])


def test_asking_less_while_it_is_down_does_not_flatter() -> None:
    """Three probes in a good cell, one in a bad one: half the time, not three quarters."""
    good = fold.cell([Seen("up"), Seen("up"), Seen("up")])
    bad = fold.cell([Seen("down")])
    whole = fold.together([good, bad])
    assert (whole.uptime, whole.probes, whole.cells, whole.word) == (5_000, 4, 2, "degraded")
    assert (good.word, bad.word, Tally().word, Tally().uptime) == ("up", "down", "none", None)
    # It answers, but not as listed: the time counts as up, and is not shown green.
    lame = fold.cell([Seen("degraded")])
    assert (lame.uptime, lame.word) == (10_000, "degraded")


@given(st.lists(st.lists(STATES, max_size=4), min_size=1, max_size=12))
def test_counting_in_any_grouping_says_the_same(cells: list[list[str]]) -> None:
    tallies = [fold.cell([Seen(state, n) for n, state in enumerate(cell)]) for cell in cells]
    at_once = fold.together(tallies)
    in_halves = fold.together(
        [fold.together(tallies[: len(tallies) // 2]), fold.together(tallies[len(tallies) // 2 :])]
    )
    assert at_once == in_halves
    assert at_once.cells == sum(bool(cell) for cell in cells)
    assert at_once.uptime is None or 0 <= at_once.uptime <= fold.WHOLE
    if any("down" in cell for cell in cells):
        assert at_once.uptime is not None and at_once.uptime < fold.WHOLE


@given(st.lists(st.integers(0, 10_000), min_size=1), st.sampled_from([5, 50, 95, 99]))
def test_a_percentile_was_measured_and_covers_its_share(values: list[int], percent: int) -> None:
    found = fold.percentile(values, percent)
    assert found in values
    assert sum(value <= found for value in values) * 100 >= percent * len(values)
    assert sum(value < found for value in values) * 100 < percent * len(values)
    assert fold.percentile([], percent) is None


def test_a_row_has_every_span_and_a_gap_where_nobody_looked() -> None:
    up = fold.cell([Seen("up")])
    row = fold.row({NOON: up, NOON + CELL: up, NOON + 5 * HOUR: up}, NOON + DAY, HOUR, 24)
    assert [start for start, _ in row] == [NOON + n * HOUR for n in range(24)]
    assert [tally.word for _, tally in row][:6] == ["up", *["none"] * 4, "up"]
    assert row[0][1].cells == 2
    # What lies outside is not squeezed in.
    assert fold.row({NOON - CELL: up, NOON + DAY: up}, NOON + DAY, DAY, 1)[0][1] == Tally()


def test_a_bar_ages_into_no_data() -> None:
    end = fold.floor(NOON, HOUR) + HOUR
    assert fold.moved("uugd", end, NOON, HOUR) == "uugd"
    assert fold.moved("uugd", end, end + dt.timedelta(seconds=1), HOUR) == "ugd-"
    assert fold.moved("uugd", end, end + 3 * HOUR, HOUR) == "d---"
    assert fold.moved("uugd", end, end + 90 * DAY, HOUR) == "----"


def test_a_bar_says_in_shape_and_words_what_it_says_in_colour() -> None:
    bar = bars.bar_of("uugd--", dt.timedelta(hours=6))
    assert bar_text(bar) == (
        "6 cells of 6 hours, oldest first: 2 up, 1 degraded, 1 down, 2 no data"
    )
    shapes = {shape.state: shape.path for shape in bar.shapes}
    assert shapes["up"] == "M0 0h3v24h-3zM4 0h3v24h-3z"
    assert shapes["none"].count("M") == 2
    heights = {state: path.split("v")[1].split("h")[0] for state, path in shapes.items()}
    assert len(set(heights.values())) == len(heights) == 4


def test_a_time_is_written_in_the_unit_people_read() -> None:
    assert [seconds(ms) for ms in (0, 999, 1_000, 9_999, 12_345, 1_234_567)] == [
        "0 ms", "999 ms", "1.0 s", "9.9 s", "12.3 s", "1,234.5 s"
    ]  # fmt: skip
