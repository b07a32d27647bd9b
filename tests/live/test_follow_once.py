"""`follow --once` beside a follower that runs: it waits for that one's work and exits."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection

from chain.models import Head
from devnet import accounts as cast
from devnet.deploy import Contracts, connect
from ledger import services
from ledger.models import Ledger


@contextmanager
def following(settings: Any, anvil: Any, devnet: Any) -> Iterator[tuple[Contracts, Thread]]:
    """A follower that runs until the end, when it lets go at once."""
    settings.CHAIN_RPC_URLS = (anvil.url,)
    stop = threading.Event()

    def run() -> None:
        services.follow_alone(stopping=stop.is_set)
        connection.close()

    follower = Thread(target=run, daemon=True)
    follower.start()
    contracts = connect(anvil.url, devnet)
    try:
        with contracts.chain.rollback():
            yield contracts, follower
            assert follower.is_alive()
            stop.set()
            follower.join(20)
            assert not follower.is_alive()
    finally:
        stop.set()


@pytest.mark.django_db(transaction=True)
def test_once_exits_when_the_running_follower_has_reached_the_head(
    settings: Any, anvil: Any, devnet: Any
) -> None:
    with following(settings, anvil, devnet) as (contracts, follower):
        while not Head.objects.filter(indexed_block__gte=0).exists():
            assert follower.is_alive()
        receipt = contracts.ledger.send(cast.user(1), "depositFund", value=5 * 10**18)
        call_command("follow", "--once")
        head = Head.objects.get()
        assert head.indexed_block >= receipt.block
        assert Ledger.current.get(user=cast.user(1).address).available == 5 * 10**18


@pytest.mark.django_db(transaction=True)
def test_replay_asks_the_running_follower_aside_and_it_goes_on_after(
    settings: Any, anvil: Any, devnet: Any
) -> None:
    with following(settings, anvil, devnet) as (contracts, _):
        contracts.ledger.send(cast.user(1), "depositFund", value=5 * 10**18)
        call_command("follow", "--once")
        call_command("replay")
        receipt = contracts.ledger.send(cast.user(1), "depositFund", value=2 * 10**18)
        call_command("follow", "--once")
        assert Head.objects.get().indexed_block >= receipt.block
        assert Ledger.current.get(user=cast.user(1).address).available == 7 * 10**18
