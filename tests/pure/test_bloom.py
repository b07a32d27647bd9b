"""Bloom filters against a log bloom computed by Ethereum's own definition."""

from __future__ import annotations

import random

import pytest
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from chain.bloom import names_one_of


def bloom_of(entries: list[bytes]) -> str:
    """Bit by bit as in the yellow paper: bit 2047 is the first byte's highest."""
    bits = bytearray(256)
    for entry in entries:
        digest = keccak(entry)
        for first in (0, 2, 4):
            bit = (digest[first] << 8 | digest[first + 1]) & 0x7FF
            bits[255 - bit // 8] |= 1 << bit % 8
    return "0x" + bits.hex()


def test_who_logged_is_named_and_others_hardly_ever() -> None:
    rng = random.Random(3)
    people = [rng.randbytes(20) for _ in range(400)]
    wrong = 0
    for start in range(0, 200, 5):
        inside = people[start : start + 5]
        bloom = bloom_of([*inside, rng.randbytes(32)])
        assert all(names_one_of(bloom, [to_checksum_address(p)]) for p in inside)
        wrong += sum(names_one_of(bloom, [to_checksum_address(p)]) for p in people[200:])
    assert wrong < 10


def test_empty_full_and_foreign() -> None:

    nobody, transfer = (
        "0x" + "00" * 256,
        bloom_of([keccak(text="Transfer(address,address,uint256)")]),
    )
    someone = to_checksum_address(b"\x11" * 20)
    assert not names_one_of(nobody, [someone])
    assert not names_one_of(transfer, [someone])
    assert names_one_of("0x" + "ff" * 256, [someone])
    assert not names_one_of("0x" + "ff" * 256, [])


@pytest.mark.parametrize("bloom", [None, "", "0x", "0x" + "f" * 511, 7, "0x" + "g" * 512])
def test_a_bloom_that_is_none_says_nothing(bloom: object) -> None:
    assert not names_one_of(bloom, [to_checksum_address(b"\x11" * 20)])
