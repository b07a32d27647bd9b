"""Decoding logs: our generated decoders against eth_abi and web3.py, on the same logs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple
from typing import Any

from eth_abi.abi import decode as abi_decode
from hexbytes import HexBytes
from web3 import Web3

from bench.measure import Result, rate
from bench.web3_baseline import abi_of
from protocol import abi, events

LOGS = 2_000
_USER, _PROVIDER = "0x" + "11" * 20, "0x" + "22" * 20


def decode(arguments: Sequence[str]) -> list[Result]:
    """A log of fixed words and one with strings; and the calldata of a settlement batch."""
    return [
        *_logs("BalanceUpdated", [10**18, 10**17], 5),
        *_logs("ServiceUpdated", SERVICE, 1),
        _calldata(),
    ]


SERVICE = [
    "chatbot", "https://provider.example.org", 10**9, 10**10, 1_780_000_000,
    "family/model-70b-instruct", "TeeML",
]  # fmt: skip


def _logs(name: str, values: list[Any], goal: float) -> list[Result]:
    shape = next(
        s for s in events.SHAPES if s.name == name and events.Emitter.INFERENCE in s.emitters
    )
    words = [a for a in shape.arguments if a.indexed]
    plain = [a.type for a in shape.arguments if not a.indexed]
    topics = [shape.topic, *("0x" + a[2:].rjust(64, "0") for a in (_USER, _PROVIDER)[: len(words)])]
    data = "0x" + abi.CODEC.encode(plain, values).hex()
    contract = Web3().eth.contract(
        address=Web3.to_checksum_address("0x" + "33" * 20),
        abi=abi_of("InferenceServing"),
    )
    log: Any = {
        "topics": [HexBytes(t) for t in topics], "data": HexBytes(data), "blockNumber": 1,
        "blockHash": HexBytes("0x" + "44" * 32), "transactionHash": HexBytes("0x" + "55" * 32),
        "transactionIndex": 0, "logIndex": 0, "address": contract.address,
    }  # fmt: skip
    found: Any = events.decode("inference", topics, data)
    assert list(astuple(found))[len(words) :] == values

    def ours() -> int:
        for _ in range(LOGS):
            events.decode("inference", topics, data)
        return LOGS

    def with_eth_abi() -> int:
        for _ in range(LOGS // 4):
            [abi_decode(["address"], bytes.fromhex(t[2:])) for t in topics[1:]]
            abi_decode(plain, bytes.fromhex(data[2:]))
        return LOGS // 4

    def with_web3() -> int:
        event = contract.events[name]()
        for _ in range(LOGS // 20):
            event.process_log(log)
        return LOGS // 20

    speed = rate(ours)
    return [
        _result(f"log {name}", speed, rate(with_eth_abi), "eth_abi", goal),
        _result(f"log {name}", speed, rate(with_web3), "web3.py process_log", 10),
    ]


def _calldata() -> Result:
    item = {
        "user": _USER, "provider": _PROVIDER, "totalFee": 10**12, "requestsHash": b"\1" * 32,
        "nonce": 7, "signature": b"\2" * 65,
    }  # fmt: skip
    data = abi.encode_call(abi.INFERENCE_SERVING, "settleFeesWithTEE", [item] * 30)
    types = [a.type for a in abi.functions(abi.INFERENCE_SERVING)["settleFeesWithTEE"].inputs]

    def ours() -> int:
        for _ in range(20):
            abi.decode_call(abi.INFERENCE_SERVING, data)
        return 20

    def with_eth_abi() -> int:
        for _ in range(5):
            abi.CODEC.decode(types, bytes.fromhex(data[10:]))
        return 5

    return _result("calldata of 30 settlements", rate(ours), rate(with_eth_abi), "eth_abi", 4)


def _result(name: str, ours: float, theirs: float, baseline: str, goal: float) -> Result:
    met = ours / theirs >= goal
    return Result(f"decode: {name}", baseline, "per s", ours, theirs, f">= {goal:g}", met)
