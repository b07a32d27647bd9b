"""What alerts are made of: signatures of webhooks, waits, percentages, forms."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.errors import Problem
from alerts import forms, signing
from alerts.kinds import SORTS, Kind, moved, sentence

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_the_signature_of_the_standards_own_example() -> None:
    made = signing.signature(
        SECRET, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
    )
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@given(st.binary(max_size=200), st.integers(0, 2**40))
def test_a_signature_covers_id_moment_and_body(body: bytes, stamp: int) -> None:
    made = signing.signature(SECRET, "msg_1", stamp, body)
    assert made == signing.signature(SECRET, "msg_1", stamp, body)
    others = (
        signing.signature(SECRET, "msg_2", stamp, body),
        signing.signature(SECRET, "msg_1", stamp + 1, body),
        signing.signature(SECRET, "msg_1", stamp, body + b" "),
        signing.signature(signing.new_secret(), "msg_1", stamp, body),
    )
    assert made not in others


def test_waits_grow_and_end() -> None:
    waits = [signing.next_wait(tried) for tried in range(1, len(signing.SCHEDULE) + 1)]
    seconds = [wait.total_seconds() for wait in waits if wait is not None]
    assert len(seconds) == len(waits) and seconds == sorted(seconds)
    assert signing.next_wait(len(signing.SCHEDULE) + 1) is None


@given(st.integers(1, 10**30), st.integers(0, 10**30))
def test_a_move_is_signed_and_never_exaggerated(before: int, after: int) -> None:
    step = moved(before, after)
    assert step is not None
    assert (step >= 0) == (after >= before or step == 0)
    assert abs(step) * before <= abs(after - before) * 10_000


def test_a_move_from_nothing() -> None:
    assert moved(0, 0) == 0 and moved(0, 5) is None and moved(5, 0) == -10_000


def test_every_kind_is_offered_and_reads_as_a_sentence() -> None:
    assert set(SORTS) == set(Kind)
    for kind in Kind:
        said = sentence(kind, "0x12…34", "5")
        assert "{" not in said and (said[:1].isupper() or said.startswith("0x"))


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        ("low_balance", "1,5"),
        ("low_balance", "0"),
        ("low_available", "-1"),
        ("low_balance", "٣"),
        ("price", "1001"),
        ("price", "5.5"),
        ("price", "1e2"),
    ],
)
def test_a_number_that_means_nothing_is_refused(kind: str, number: str) -> None:
    with pytest.raises(Problem):
        forms.wish(forms.typed({"kind": kind, "number": number}))


def test_a_form_with_nothing_in_it_uses_what_is_usual() -> None:
    low = forms.wish(forms.typed({"kind": "low_balance"}))
    assert (low.threshold, low.percent, low.provider) == (15 * 10**17, None, "")
    assert forms.wish(forms.typed({"kind": "price"})).percent == 0
    assert forms.wish(forms.typed({"kind": "nonsense"})).kind == Kind.REFUND_UNLOCKED
    with pytest.raises(Problem):
        forms.wish(forms.typed({"kind": "price", "provider": "0x12"}))
    # A rule that is about no provider has none, whatever the browser sent.
    assert forms.wish(forms.typed({"kind": "lock_time", "provider": "0x12"})).provider == ""
