"""What acts amount to, and the canonical form that their hashes are of."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderation import entries, fold, risk
from moderation.fold import Action, Done
from moderation.models import ItemKind

NOW = dt.datetime(2026, 5, 4, 12, tzinfo=dt.UTC)


def act(number: int, action: str, actor: str = "a", **more: object) -> Done:
    return replace(
        Done(number=number, at=NOW + dt.timedelta(hours=number), action=action, actor=actor),
        **more,  # type: ignore[arg-type]
    )


def kinds(*acts: Done) -> set[tuple[str, str]]:
    return set(fold.fold(acts))


def test_two_persons_hide_and_one_never_does() -> None:
    end = NOW + dt.timedelta(hours=10)
    proposed = act(1, Action.PROPOSE_HIDE, "a", until=end)
    assert kinds(proposed) == {("proposed", "hide")}
    second = act(2, Action.HIDE, "b", answers=1)
    assert kinds(proposed, second) == {("hidden", "")}
    for wrong in (
        replace(second, actor="a"),  # the same person
        replace(second, answers=7),  # another proposal
        replace(second, at=end),  # too late
        act(2, Action.BLOCK, "b", answers=1),  # another thing
    ):
        assert ("hidden", "") not in kinds(proposed, wrong)
    assert kinds(second) == set(), "nobody proposed it"
    assert kinds(proposed, act(2, Action.DECLINE, "b", label="hide"), second) == set()


def test_two_persons_end_a_link_or_the_host_alone() -> None:
    proposed, second = act(1, Action.PROPOSE_END, "a"), act(2, Action.END, "b", answers=1)
    assert kinds(proposed, second) == {("ended", "")}
    assert ("ended", "") not in kinds(proposed, replace(second, actor="a"))
    assert kinds(second) == set(), "nobody proposed it"
    assert kinds(proposed, act(2, Action.END_BY_HOST, "manage.py")) == {("ended", "")}
    assert kinds(proposed, second, act(3, Action.REOPEN)) == set()


def test_an_undone_act_leaves_what_was_there_before() -> None:
    first, second = act(1, Action.FLAG, public_text="old"), act(2, Action.FLAG, public_text="new")
    undone = act(3, Action.UNDO, answers=2)
    assert fold.fold([first, second, undone])["flagged", ""].act.public_text == "old"
    lifted = (act(2, Action.UNFLAG), act(3, Action.UNDO, answers=2))
    assert kinds(first, *lifted) == {("flagged", "")}
    labels = (act(4, Action.LABEL, label="official"), act(5, Action.LABEL, label="beta"))
    assert kinds(*labels, act(6, Action.UNLABEL, label="official")) == {("label", "beta")}
    assert kinds(act(1, "something of another version")) == set()


_texts = st.text(st.characters(codec="utf-8"), max_size=8)
_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | _texts,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(codec="ascii"), max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(_values, _values)
def test_different_values_never_share_a_canonical_form(one: object, other: object) -> None:
    text = entries.canonical(one)
    assert json.loads(text) == one
    if json.dumps(one, sort_keys=True) != json.dumps(other, sort_keys=True):
        assert entries.canonical(other) != text


@pytest.mark.parametrize("value", [1.5, 2**53, {"ä": 1}, {1: 2}, b"x", "\ud800", float("nan")])
def test_what_has_no_one_spelling_is_refused(value: object) -> None:
    with pytest.raises(ValueError):
        entries.canonical(value)


def test_the_rule_of_risk_says_its_parts() -> None:
    found = risk.of(ItemKind.REPORT, held=150 * risk.ONE, reporters=3)
    assert found.points == 40 + 10 + 16 == sum(int(part.split(":")[0]) for part in found.why)
    assert risk.of(ItemKind.PROPOSAL, held=10**30, reporters=99).points == 100
    assert risk.of(ItemKind.NEW, held=0, failed=True).points == 20 + 25
    assert [risk.tone(NOW, 50, NOW + dt.timedelta(hours=h)) for h in (1, 12, 24)] == [
        "ok", "warn", "bad",
    ]  # fmt: skip
