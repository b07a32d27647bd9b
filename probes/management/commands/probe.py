"""`manage.py probe [ADDRESS]`: look at services from outside now (interfaces.md 1)."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from attestation.printing import printable
from ledger import selectors as ledger
from ledger.records import Listing
from probes import services
from probes.asking import Found
from probes.seen import FAILURES


class Command(BaseCommand):
    help = (
        "Probe the services of one provider, or all services that are due, and store what was "
        "seen; needs no worker. Exit 0 whatever was seen."
    )
    requires_system_checks = ()  # they import the whole site

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("address", nargs="?", metavar="ADDRESS", help="the provider")

    def handle(self, *args: Any, address: str | None = None, **options: Any) -> None:
        listings = ledger.services_of(_address(address)) if address else services.all_due()
        if address and not listings:
            raise CommandError("This address offers no service now.")
        found = services.run(listings, thorough=True if address else None)
        seen = {item.target.pair: item for item in found}
        for listing in listings:
            self.stdout.write(said(listing, seen.get((listing.serving, listing.provider))))
        if not listings:
            self.stdout.write("nothing is due")


def _address(text: str) -> str:
    address = ledger.address_of(text)
    if address is None:
        raise CommandError(
            f"{text!r} is not an address: 0x and 40 hex digits with the right checksum"
        )
    return address


def said(listing: Listing, item: Found | None) -> str:
    """One line: who, in which state, and what was measured."""
    model = printable(listing.model or ", ".join(listing.models[:3]))[:60]
    head = f"{listing.provider} {listing.kind} {model}:"
    if item is None:
        why = "never probed (PROBE_OPT_OUT)" if services.refused(listing) else "being asked now"
        return f"{head} {why}"
    if item.forbidden:
        return f"{head} not probed: its robots.txt asks 0g-market-probe to stay away"
    state, failure = item.judged
    parts = [f"{head} {state}"]
    if failure:
        parts.append(FAILURES[failure] + (f" ({item.listed.status})" if item.listed.status else ""))
    if item.listed.answer_ms is not None:
        parts.append(f"model list in {item.listed.answer_ms} ms")
    if item.listed.tls_days is not None:
        parts.append(f"certificate for {item.listed.tls_days} more days")
    if item.cors is not None:
        parts.append("browsers may ask it" if item.cors else "browsers may not ask it (CORS)")
    spoken, speed = item.spoken, services.speed_of(item)
    if spoken and spoken.first_token_ms is not None:
        parts.append(f"first token after {spoken.first_token_ms} ms ({item.speed})")
    if speed is not None:
        parts.append(f"{speed // 10}.{speed % 10} tokens/s")
    if spoken and spoken.usage_last is not None:
        parts.append("usage in its final chunk" if spoken.usage_last else "no usage at the end")
    return ", ".join(parts)
