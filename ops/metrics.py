"""What `/metrics` says about this installation beside the market: failures, database, disk."""

from __future__ import annotations

from collections.abc import Iterator

from django.utils import timezone
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from ops import selectors
from probes import exchange


class Host(Collector):
    """Gauges of what runs out. SQL: two queries."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        found = selectors.room_left()
        values = {
            "tasks_failed_open": ("Failures of background tasks nobody handled", found.failed),
            "database_bytes": ("Size of our PostgreSQL database", found.database),
            "database_connections": ("Connections to it", found.connections),
            "database_connections_most": ("Connections it takes", found.connections_most),
            "disk_free_bytes": ("Free where this web process has its files", found.disk.free),
            "disk_total_bytes": ("Size of that disk", found.disk.total),
        }
        if (price := exchange.newest()) is not None:
            age = round((timezone.now() - price.at).total_seconds())
            values["exchange_rate_age_seconds"] = ("Since the price of 0G in US dollars", age)
        for name, (text, value) in values.items():
            yield GaugeMetricFamily(name, text, value)
