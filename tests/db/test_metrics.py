"""`/metrics` and `/status`: who may read, and that every number is the stored one."""

from __future__ import annotations

import asyncio
import re
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml
from django.conf import settings as site
from django.db import connection
from django.test import Client
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from accounts.models import User
from chain.models import Coverage, Head, NodeState, RawLog
from inference.hub import Hub
from ledger.models import Reconciliation
from marketplace import disk, docs_html, presence, traffic
from ops import alarms
from probes.models import ExchangeRate, Health
from tests.db import api_rows as rows

pytestmark = pytest.mark.django_db


def scrape(client: Client, **headers: str) -> dict[tuple[str, str], float]:
    """Value by metric name and node."""
    response = client.get("/metrics", headers=headers)
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/plain")
    return {
        (sample.name, sample.labels.get("node", "")): sample.value
        for family in text_string_to_metric_families(response.content.decode())
        for sample in family.samples
    }


def node(position: int, name: str, **fields: Any) -> NodeState:
    return NodeState.objects.create(
        chain_id=31337, position=position, name=name, updated_at=timezone.now(), **fields
    )


def reconciliation(**fields: Any) -> Reconciliation:
    at = timezone.now() - timedelta(seconds=90)
    return Reconciliation.objects.create(
        **{"at": at, "scope": "sample", "block": 98, "compared": {"ledgers": 4}, **fields}
    )


def test_only_this_machine_or_the_token(client: Client, settings: Any) -> None:
    assert client.get("/metrics").status_code == 200
    assert client.get("/metrics", REMOTE_ADDR="203.0.113.7").status_code == 403
    proxied = {"X-Forwarded-For": "203.0.113.7"}
    assert client.get("/metrics", headers=proxied).status_code == 403, "the proxy is on loopback"
    settings.METRICS_TOKEN = "token-of-the-operator"
    for wrong in ("", "Bearer", "Bearer x", "Bearer töken", "Basic token-of-the-operator"):
        assert client.get("/metrics", headers={"Authorization": wrong}).status_code == 403
    good = {"Authorization": "Bearer token-of-the-operator"}
    assert client.get("/metrics", REMOTE_ADDR="203.0.113.7", headers=good).status_code == 200
    assert client.post("/metrics").status_code == 405


def test_every_number_is_the_stored_one(client: Client) -> None:
    found = scrape(client)
    assert found["index_indexed_block", ""] == -1
    assert ("index_drift", "") not in found, "no comparison is not the same as no drift"
    rows.head(100)
    Head.objects.update(events_per_second=12.5, blocks_per_second=3)
    node(0, "https://one.example", state="ok", head_block=101, latency_ms=250, requests=7)
    node(1, "https://two.example", state="set aside", reason="another branch", failures=3)
    reconciliation(drift=2)
    reconciliation(error="no node answers")
    found = scrape(client)
    assert found["index_head_block", ""] == 101
    assert found["index_lag_blocks", ""] == 1
    assert found["index_events_per_second", ""] == 12.5
    assert found["index_drift", ""] == 2
    assert found["tasks_failed_open", ""] == 0
    assert 0 < found["disk_free_bytes", ""] < found["disk_total_bytes", ""]
    assert found["database_bytes", ""] > 1_000_000
    assert 0 < found["database_connections", ""] < found["database_connections_most", ""]
    assert 90 <= found["index_reconciliation_age_seconds", ""] < 120
    assert found["rpc_up", "https://one.example"] == 1
    assert found["rpc_latency_seconds", "https://one.example"] == 0.25
    assert found["rpc_up", "https://two.example"] == 0
    assert found["rpc_set_aside", "https://two.example"] == 1
    assert ("rpc_head_block", "https://two.example") not in found


def test_status_shows_nodes_coverage_and_progress(client: Client, settings: Any) -> None:
    rows.head(100)
    rows.contracts()
    Head.objects.update(head_block=1_000_100, blocks_per_second=1000, events_per_second=77)
    Coverage.objects.create(source=settings.LEDGER_ADDRESS, from_block=0, to_block=48)
    node(0, "https://one.example", state="resting", reason="HTTP 503 <b>", websocket=False)
    text = client.get("/status").content.decode()
    assert "Catching up" in text
    assert "is catching up with the chain" in text
    assert "up to date" not in text
    assert 'max="1000101" value="101"' in text
    assert "about 16 min" in text
    assert "77 events per second" in text
    assert "49 (49 %)" in text
    assert "failing" in text
    assert "HTTP 503 &lt;b&gt;" in text
    assert "first run comes within" in text


def test_status_counts_its_queries(client: Client, django_assert_max_num_queries: Any) -> None:
    rows.head(100)
    rows.contracts()
    for _ in range(12):
        reconciliation()
    with django_assert_max_num_queries(12):
        client.get("/status")


def test_drift_is_an_alert_for_all_and_a_banner_for_staff(client: Client) -> None:
    rows.head(100)
    reconciliation(drift=3)
    alert = "3 of our values differed"
    assert alert in client.get("/status").content.decode()
    banner = "differ from the chain"
    assert banner not in client.get("/network").content.decode()
    staff = User.objects.create(address="0x" + "12" * 20, is_superuser=True)
    client.force_login(staff)
    assert banner in client.get("/network").content.decode()
    reconciliation(drift=0)
    assert banner not in client.get("/network").content.decode()
    assert alert not in client.get("/status").content.decode()


def test_a_large_store_is_estimated_and_says_so(client: Client, monkeypatch: Any) -> None:
    """Never below what was seen, whatever the database believes."""
    monkeypatch.setattr("chain.selectors.COUNTED", 2)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE chain_rawlog")  # it may remember what an earlier test had stored
    assert "about" not in stored(client)
    RawLog.objects.bulk_create(
        RawLog(
            block_hash="0x" + "11" * 32,
            block_number=1,
            log_index=index,
            tx_hash="0x" + "22" * 32,
            tx_index=0,
            address=rows.ALICE,
            topics=[],
            data="0x",
        )
        for index in range(4)
    )
    assert stored(client) == "about 3"
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE chain_rawlog")
    assert stored(client) == "about 4"
    assert scrape(client)["index_logs", ""] == 4


def stored(client: Client) -> str:
    page = client.get("/status").content.decode()
    return page.split("<dt>Events stored</dt><dd>")[1].split("<")[0].strip()


def told() -> None:
    asyncio.run(traffic.tell(Hub()))


def test_requests_are_counted_by_door_and_answer_and_told_once(client: Client) -> None:
    presence.client().delete(traffic.KEY)
    told()
    presence.client().delete(traffic.KEY)
    client.get("/status")
    client.get("/status")
    client.get("/api/v1/nothing-here")
    traffic.count("/v1/chat/completions", 0, time.perf_counter() - 3)
    assert "http_requests_total" not in {name for name, _ in scrape(client)}, "told by nobody yet"
    told()
    told()
    text = client.get("/metrics").content.decode()
    assert 'http_requests_total{door="page",status="2xx"} 2.0' in text
    assert 'http_requests_total{door="api",status="4xx"} 1.0' in text
    assert 'http_requests_total{door="relay",status="gone"} 1.0' in text
    assert 'http_request_seconds_bucket{door="relay",le="2.5"} 0.0' in text
    assert 'http_request_seconds_bucket{door="relay",le="5.0"} 1.0' in text
    assert 'http_request_seconds_count{door="page"} 2.0' in text
    assert "nothing-here" not in text, "no label is a visitor's word"


def test_what_redis_did_not_take_is_told_later(client: Client, settings: Any) -> None:
    presence.client().delete(traffic.KEY)
    traffic.count("/status", 200, time.perf_counter())
    url, settings.REDIS_URL = settings.REDIS_URL, "redis://127.0.0.1:1/0"
    with pytest.raises(redis.RedisError):
        told()
    settings.REDIS_URL = url
    told()
    assert ("http_requests_total", "") in scrape(client)


def test_alert_rules_name_only_series_that_exist_and_cover_every_alarm(
    client: Client, settings: Any
) -> None:
    settings.USD_PRICE_URL = "https://prices.example/"
    ExchangeRate.objects.create(source="prices.example", quoted_at=timezone.now(), micro=1)
    folder = Path(site.BASE_DIR) / "deploy" / "site"
    rows.head(100)
    node(0, "https://one.example", state="ok", head_block=101)
    reconciliation(drift=0)
    Health.objects.create(
        serving=rows.INFERENCE, provider=rows.ALICE, checked_at=timezone.now(), state="up"
    )
    presence.ran("probes.sweep", 12, True)
    traffic.count("/status", 200, time.perf_counter())
    told()
    text = client.get("/metrics").content.decode()
    known = set(re.findall(r"^([a-z_0-9]+?)(?:\{| )", text, re.MULTILINE)) | {"up"}
    rules = yaml.safe_load((folder / "alerts.yml").read_text())["groups"][0]["rules"]
    named = set()
    for rule in rules:
        expr = re.sub(r"\{[^}]*\}|\[[^]]*\]|by \(le\)|on\(\)", "", rule["expr"])
        words = set(re.findall(r"\b[a-z_]+\b(?!\()", expr)) - {"and", "or", "sum", "by"}
        assert words <= known, f"{rule['alert']}: {words - known}"
        named |= words
        assert rule["labels"]["severity"] in ("page", "notice") and rule["annotations"]["summary"]
    assert len(named) > 15
    (full,) = (rule["expr"] for rule in rules if rule["alert"] == "DiskNearlyFull")
    assert str(disk.LOW_BYTES) in full, "the page is for what the site itself calls nearly full"
    led = {rule["annotations"].get("runbook", "").partition("#")[2] for rule in rules}
    assert set(alarms.ANCHORS.values()) <= led
    headings = (Path(site.BASE_DIR) / "docs/runbook.md").read_text()
    anchors = {docs_html.anchor(name) for name in re.findall(r"(?m)^#+ (.+)$", headings)}
    assert led - {""} <= anchors
    config = yaml.safe_load((folder / "prometheus.yml").read_text())
    assert config["rule_files"] == ["alerts.yml"]
    assert config["scrape_configs"][0]["job_name"] == "site"
    # A label nobody sets makes a rule that is silent for ever.
    asked = set(re.findall(r'(\w+)!?="([^"]*)"', "".join(rule["expr"] for rule in rules)))
    doors = {("door", traffic.door(path)) for path in ("/", "/healthz")}
    assert asked == {("job", "site"), ("status", "5xx"), *doors}
