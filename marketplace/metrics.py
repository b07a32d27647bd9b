"""`/metrics` for Prometheus: where the index stands, the health of each node, drift, probes.

Every number is read from database and Redis at the moment of the scrape, so any web process can
answer for the others, the follower and the worker too. Node names are hosts, never paths (they
hold API keys).
"""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Iterator
from ipaddress import ip_address

import redis
from django.conf import settings
from django.db.models import Count, Sum
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_safe
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from chain import selectors as chain
from ledger import reconcile
from ledger.models import Service, ServiceTotal
from marketplace import conditions, presence, problems, traffic
from probes import selectors as probes

#: Headers by which a reverse proxy shows itself: then the address is the proxy's, not the caller's.
PROXIED = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "Via")


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """The gauges; 403 for anybody without the token (or, without one set, from elsewhere)."""
    if not _may_read(request):
        return problems.of_status(request, 403, {})
    registry = CollectorRegistry(auto_describe=False)
    for collector in COLLECTORS:
        registry.register(collector())
    response = HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)
    response["Cache-Control"] = "no-store"
    return response


def _may_read(request: HttpRequest) -> bool:
    if settings.METRICS_TOKEN:
        return brings_token(request)
    if any(header in request.headers for header in PROXIED):
        return False
    try:
        return ip_address(request.META.get("REMOTE_ADDR", "")).is_loopback
    except ValueError:
        return False


def brings_token(request: HttpRequest) -> bool:
    """Whether METRICS_TOKEN is set, and this request has it."""
    given, wanted = request.headers.get("Authorization", ""), f"Bearer {settings.METRICS_TOKEN}"
    same = secrets.compare_digest(given.encode(), wanted.encode())
    return bool(settings.METRICS_TOKEN) and same


def _age(at: dt.datetime) -> float:
    return (timezone.now() - at).total_seconds()


class Index(Collector):
    """Gauges of the index. SQL: four queries."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        yield from self._head()
        yield from self._nodes()
        yield from self._drift()

    @staticmethod
    def _head() -> Iterator[GaugeMetricFamily]:
        head = chain.head()
        values = {
            "head_block": ("The node's newest block", head.head_block),
            "indexed_block": ("Rows shown include this block", head.indexed_block),
            "final_block": ("The newest final block indexed", head.final_block),
            "lag_blocks": ("Blocks behind the node's head", head.lag_blocks),
            "lag_seconds": ("Seconds since the last agreement with the head", head.lag_seconds),
            "block_age_seconds": (
                "Age of the newest indexed block; negative: this machine's clock is behind",
                None if head.indexed_at is None else _age(head.indexed_at),
            ),
            "halted": ("1: stopped on a fact that must not be guessed", int(head.halted)),
            "events_per_second": ("Events indexed per second, lately", head.events_per_second),
            "blocks_per_second": ("Blocks indexed per second, lately", head.blocks_per_second),
            "logs": (
                "Events of our contracts stored; an estimate above 50,000",
                chain.log_count().rows,
            ),
        }
        for name, (text, value) in values.items():
            if value is not None:
                yield GaugeMetricFamily(f"index_{name}", text, value)

    @staticmethod
    def _nodes() -> Iterator[GaugeMetricFamily]:
        nodes = chain.nodes()
        families = {
            "up": "1: the node's last answer was good",
            "set_aside": "1: it contradicts what we know for certain",
            "head_block": "Its newest block when last asked",
            "latency_seconds": "Moving average of a batch",
            "requests": "HTTP requests since the start of the follower",
            "failures": "Failed ones among them",
            "websocket": "1: it announces new heads to us",
        }
        for name, text in families.items():
            family = GaugeMetricFamily(f"rpc_{name}", text, labels=["position", "node"])
            for node in nodes:
                value = {
                    "up": node.state == "ok",
                    "set_aside": node.state == "set aside",
                    "head_block": node.head_block,
                    "latency_seconds": node.latency_ms and node.latency_ms / 1000,
                    "requests": node.requests,
                    "failures": node.failures,
                    "websocket": node.websocket,
                }[name]
                if value is not None:
                    family.add_metric([str(node.position), node.name], float(value))
            yield family

    @staticmethod
    def _drift() -> Iterator[GaugeMetricFamily]:
        last = reconcile.latest()
        if last is None:
            return
        yield GaugeMetricFamily(
            "index_drift",
            "Values that differed from the contracts in the last comparison",
            last.drift,
        )
        yield GaugeMetricFamily(
            "index_reconciliation_age_seconds",
            "Since the last comparison with a result",
            _age(last.at),
        )


class Probing(Collector):
    """Gauges of what our probes see. SQL: one query."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        totals = probes.totals()
        services = GaugeMetricFamily(
            "probes_services", "Services by what their newest probe said", labels=["state"]
        )
        for state, number in totals.states.items():
            services.add_metric([state], number)
        yield services
        if totals.newest is not None:
            yield GaugeMetricFamily(
                "probes_age_seconds", "Since the newest probe", _age(totals.newest)
            )


class Outcomes(Collector):
    """Present verdicts and what was settled. SQL: two queries over rows of services."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        verdicts = GaugeMetricFamily(
            "verdicts_services", "Services by their present verdict", labels=["verdict"]
        )
        listed = Service.current.filter(removed=False).annotate(word=conditions.word())
        for word, number in listed.values_list("word").annotate(n=Count("pk")).order_by():
            verdicts.add_metric([word], number)
        yield verdicts
        totals = ServiceTotal.objects.exclude(provider="").aggregate(
            items=Sum("items"), refused=Sum("refused"), settled=Sum("settled")
        )
        yield GaugeMetricFamily("settlements_items", "Settled requests", totals["items"] or 0)
        yield GaugeMetricFamily("settlements_refused", "Refused ones", totals["refused"] or 0)
        # In 0G: a float cannot hold neuron. For books read the API.
        yield GaugeMetricFamily(
            "settlements_settled_0g", "Paid to providers", float(totals["settled"] or 0) / 10**18
        )


class Work(Collector):
    """The queue, open websockets and requests, as Redis knows them; nothing while it is away."""

    def collect(self) -> Iterator[Metric]:
        try:
            queued, taken = presence.waiting()
            web, ran = presence.web(), presence.tasks()
            traffics = tuple(traffic.families())
        except redis.RedisError:
            return
        yield GaugeMetricFamily("queue_waiting", "Background tasks in the queue", queued)
        yield GaugeMetricFamily("queue_taken", "Taken by a worker and not ended", taken)
        yield GaugeMetricFamily("web_processes", "Web processes that told of themselves", len(web))
        sockets = GaugeMetricFamily("websockets", "Open websockets", labels=["kind"])
        for kind in presence.KINDS:
            sockets.add_metric([kind], sum(one.sockets.get(kind, 0) for one in web))
        yield sockets
        last = GaugeMetricFamily("task_last_run", "Unix time of its last run", labels=["task"])
        for one in ran.values():
            last.add_metric([one.name], one.at)
        yield last
        yield from traffics


#: What a scrape asks; `ops` adds its own.
COLLECTORS: list[type[Collector]] = [Index, Probing, Outcomes, Work]
