"""What the broker counts for Prometheus; docs/broker.md lists every series. Amounts are neuron.

No label is a user or anything else a stranger chooses, so the number of series is bounded.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

PREFIX = "zg_broker"
#: What POSTs are called in labels; everything else is "other".
DOORS = {
    "/v1/proxy/chat/completions": "chat",
    "/v1/proxy/audio/transcriptions": "transcription",
    "/v1/proxy/images/generations": "images",
    "/v1/proxy/images/edits": "images",
    "/v1/proxy/embeddings": "embeddings",
    "/v1/async/images/generations": "jobs",
    "/v1/async/images/edits": "jobs",
}
SECONDS = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900)
EVENTS = ("mined", "reverted", "replaced", "pushed out", "taken back", "waiting for gas")
#: SettlementStatus of the contract (contracts.md 4), by number.
OUTCOMES = ("paid", "partial", "not ours", "no signer", "nonce used", "bad signature")


def outcome_name(status: int) -> str:
    """What the contract said about one item, in words."""
    return OUTCOMES[status] if status < len(OUTCOMES) else "other"


class Metrics:
    """One registry per broker."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry(auto_describe=True)

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"{PREFIX}_{name}", text, registry=registry)

        self.requests = Counter(
            f"{PREFIX}_requests", "Requests answered", ["door", "status"], registry=registry
        )
        self.seconds = Histogram(
            f"{PREFIX}_request_seconds",
            "Time to the end of an answer",
            ["door"],
            buckets=SECONDS,
            registry=registry,
        )
        self.upstream_failures = Counter(
            f"{PREFIX}_upstream_failures", "Upstream failed or misbehaved", registry=registry
        )
        self.settlements = Counter(
            f"{PREFIX}_settlement_batches", "Batches, by event", ["event"], registry=registry
        )
        self.outcomes = Counter(
            f"{PREFIX}_settlement_items", "Items, by outcome", ["outcome"], registry=registry
        )
        self.settled = Counter(f"{PREFIX}_settled_neuron", "Fees paid", registry=registry)
        self.written_off = Counter(
            f"{PREFIX}_written_off_neuron", "Debts given up, no income", registry=registry
        )
        self.gas_spent = Counter(
            f"{PREFIX}_gas_spent_neuron", "Gas of settlements", registry=registry
        )
        self.in_flight = gauge("in_flight", "Requests under way")
        self.paused = gauge("paused", "1 while no new work is taken")
        self.unsettled = gauge("unsettled_neuron", "Fees not settled yet")
        self.reserved = gauge("reserved_neuron", "Held back for answers under way")
        self.debtors = gauge("debtors", "Users who owe something")
        self.at_risk = gauge("users_at_risk", "Users who owe about what they have")
        self.at_risk_neuron = gauge("at_risk_neuron", "What users at risk owe")
        self.wallet = gauge("wallet_neuron", "Balance of the wallet that pays gas")
        self.gas_price = gauge("gas_price_neuron", "What the node asks per gas")
        self.upstream_up = gauge("upstream_up", "1 if the upstream answered its last check")
        self.node_up = gauge("node_up", "1 if the node answered its last check")
        self.looked_at = gauge("looked_at_seconds", "When these were last looked at (unix)")
        for event in EVENTS:
            self.settlements.labels(event)
        for outcome in OUTCOMES:
            self.outcomes.labels(outcome)

    def outcome(self, status: int) -> None:
        """Count what the contract said about one item."""
        self.outcomes.labels(outcome_name(status)).inc()

    @contextmanager
    def request(self, method: str, path: str) -> Iterator[list[int]]:
        """Count one request; the caller puts its status into the list."""
        door = DOORS.get(path, "other") if method == "POST" else "other"
        status: list[int] = []
        begun = time.monotonic()
        self.in_flight.inc()
        try:
            yield status
        finally:
            self.in_flight.dec()
            word = f"{status[0] // 100}xx" if status else "gone"
            self.requests.labels(door, word).inc()
            self.seconds.labels(door).observe(time.monotonic() - begun)

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)
