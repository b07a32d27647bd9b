"""`follow --once` beside a follower that runs: it waits for that one's work and exits."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection

from chain.models import Head
from devnet import accounts as cast
from devnet.deploy import connect
from ledger import services
from ledger.models import Ledger


@pytest.mark.django_db(transaction=True)
def test_once_exits_when_the_running_follower_has_reached_the_head(
    settings: Any, anvil: Any, devnet: Any
) -> None:
    settings.CHAIN_RPC_URLS = (anvil.url,)
    stop = threading.Event()

    def run() -> None:
        services.follow_alone(stopping=stop.is_set)
        connection.close()

    follower = threading.Thread(target=run, daemon=True)
    follower.start()
    contracts = connect(anvil.url, devnet)
    try:
        with contracts.chain.rollback():
            while not Head.objects.filter(indexed_block__gte=0).exists():
                assert follower.is_alive()
            receipt = contracts.ledger.send(cast.user(1), "depositFund", value=5 * 10**18)
            call_command("follow", "--once")
            head = Head.objects.get()
            assert head.indexed_block >= receipt.block
            assert Ledger.current.get(user=cast.user(1).address).available == 5 * 10**18
            assert follower.is_alive()
            stop.set()
            follower.join(20)
            assert not follower.is_alive()
    finally:
        stop.set()


@pytest.mark.django_db(transaction=True)
def test_replay_asks_the_running_follower_aside_and_it_goes_on_after(
    settings: Any, anvil: Any, devnet: Any
) -> None:
    settings.CHAIN_RPC_URLS = (anvil.url,)
    stop = threading.Event()

    def run() -> None:
        services.follow_alone(stopping=stop.is_set)
        connection.close()

    follower = threading.Thread(target=run, daemon=True)
    follower.start()
    contracts = connect(anvil.url, devnet)
    try:
        with contracts.chain.rollback():
            contracts.ledger.send(cast.user(1), "depositFund", value=5 * 10**18)
            call_command("follow", "--once")
            call_command("replay")
            receipt = contracts.ledger.send(cast.user(1), "depositFund", value=2 * 10**18)
            call_command("follow", "--once")
            assert Head.objects.get().indexed_block >= receipt.block
            assert Ledger.current.get(user=cast.user(1).address).available == 7 * 10**18
            assert follower.is_alive()
    finally:
        stop.set()
        follower.join(20)
        assert not follower.is_alive()
