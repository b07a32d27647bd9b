"""What brokers share about unsettled fees: read back as written, and nothing else is believed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from protocol import unsettled
from protocol.digests import address_of_key
from protocol.unsettled import BadUnsettled, Unsettled

KEY = b"\x11" * 32
PROVIDER = address_of_key(KEY)
CONTRACT = "0x0165878A594ca255338adfa4d48449f69242Eb8F"
SAID = Unsettled(PROVIDER, 16661, CONTRACT, 1_763_676_000, 2**70, 12, 5, 1)
PLACE = {"provider": PROVIDER, "chain_id": 16661, "contract": CONTRACT}


def test_what_was_signed_is_read_back() -> None:
    document = SAID.document(KEY)
    assert document["unsettledFee"] == str(2**70)
    assert unsettled.parse(document, **PLACE) == SAID  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"unsettledFee": "1"}, "not signed by the provider"),
        ({"users": 13}, "not signed by the provider"),
        ({"at": 1_763_676_001}, "not signed by the provider"),
        ({"chainId": 1}, "another service"),
        ({"provider": CONTRACT}, "another service"),
        ({"unsettledFee": 5}, "not what it should be"),
        ({"unsettledFee": "٣"}, "not what it should be"),
        ({"unsettledFee": "9" * 79}, "not what it should be"),
        ({"users": -1}, "not what it should be"),
        ({"users": True}, "not what it should be"),
        ({"atRiskUsers": 2**60}, "not what it should be"),
        ({"contract": "0x12"}, "not what it should be"),
        ({"provider": 7}, "not what it should be"),
        ({"signature": "0x"}, "invalid signature length"),
        ({"signature": None}, "invalid signature format"),
    ],
)
def test_nothing_else_is_believed(changes: dict[str, object], said: str) -> None:
    with pytest.raises(BadUnsettled, match=said):
        unsettled.parse({**SAID.document(KEY), **changes}, **PLACE)  # type: ignore[arg-type]


def test_a_stranger_cannot_speak_for_a_provider() -> None:
    with pytest.raises(BadUnsettled, match="not signed"):
        unsettled.parse(SAID.document(b"\x12" * 32), **PLACE)  # type: ignore[arg-type]
    junks: tuple[object, ...] = (None, [], "x", {})
    for junk in junks:
        with pytest.raises(BadUnsettled):
            unsettled.parse(junk, **PLACE)  # type: ignore[arg-type]
    assert replace(SAID, fee=1).text() != SAID.text()
