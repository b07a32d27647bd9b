from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from chain.errors import ChainError
from marketplace.seed import DEVNET_CHAIN_ID, SeedError, seed
from marketplace.seed_tuning import tune
from probes import examples, services


class Command(BaseCommand):
    help = (
        "Give the local devnet a little real history (deposits, questions, a refund). Idempotent."
    )
    requires_system_checks = ()  # they import the whole site

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--services", type=int, default=1, metavar="N", help="wait until the site lists N"
        )
        parser.add_argument(
            "--leave-out", action="append", default=[], metavar="MODEL", help="ask nobody for it"
        )

        parser.add_argument(
            "--tuning",
            action="store_true",
            help="instead: have one model fine-tuned for a user of that history",
        )
        parser.add_argument(
            "--history",
            action="store_true",
            help="instead: 90 days of measurements for every listed service, made up and marked "
            "as example data wherever they are shown",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if settings.CHAIN_ID != DEVNET_CHAIN_ID:
            raise CommandError("seed_demo uses public keys: it runs on the local devnet only")
        if options["history"]:
            listings = services.listed()
            rows = examples.seed(listings)
            self.stdout.write(f"{rows:,} rows of example data for {len(listings)} services")
            return
        where = settings.CHAIN_RPC_URLS, settings.SITE_URL, settings.LEDGER_ADDRESS
        try:
            if options["tuning"]:
                tuned = tune(*where)
                self.stdout.write("one model fine-tuned" if tuned else "was fine-tuned before")
                return
            done = seed(*where, options["services"], options["leave_out"])
        except (SeedError, ChainError) as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"{done} accounts seeded")
