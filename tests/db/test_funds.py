"""The funds pages: numbers from ledger rows, exact sums, first-time states, nobody else's data."""

from __future__ import annotations

import html as html_lib
import re
import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl

import pytest
from django.test import Client
from django.utils import timezone

from accounts import forms, node, pages, selectors
from accounts.models import User
from chain.models import Head
from devnet import accounts as cast
from devnet.anvil import Anvil
from devnet.deploy import Contracts, connect, deploy
from ledger.models import Ledger, Movement, ServingContract, SubAccount
from ledger.selectors import account
from tests import factories

pytestmark = pytest.mark.django_db
NEURON = 10**18
ALICE, BOB = cast.user(1), cast.user(2)
PETRA, PAUL = (cast.provider(number).address for number in (1, 2))
PAGES = ("/account", "/account/refunds", "/account/transactions", "/account/keys")


@pytest.fixture(scope="module")
def contracts() -> Iterator[Contracts]:
    with Anvil(args=()) as node:
        yield connect(node.url, deploy(node.url))


@pytest.fixture
def site(contracts: Contracts, settings: Any) -> Iterator[None]:
    settings.CHAIN_RPC_URLS = (contracts.chain.rpc.url,)
    with contracts.chain.rollback():
        yield


@pytest.fixture
def alice() -> Client:
    client = Client()
    client.force_login(User.objects.for_address(ALICE.address))
    return client


def neuron(html: str, name: str) -> int:
    found = re.search(rf'data-neuron="(\d+)"[^>]*data-testid="balance-{name}"', html)
    assert found, name
    return int(found[1])


def hold(contracts: Contracts) -> None:
    """Rows as the index writes them: 10 deposited, 4 at a provider, 1 and a neuron refunding."""
    ServingContract.objects.create(
        address=contracts.inference.address,
        kind="inference",
        version="v1.0",
        service_name="inference-v1.0",
        recommended=True,
        registered_block=1,
        start_block=1,
        lock_time_seconds=86_400,
        block=1,
    )
    Ledger.objects.create(
        user=ALICE.address, available=6 * NEURON - 3, total=10 * NEURON - 3, block=5
    )
    SubAccount.objects.create(
        serving=contracts.inference.address,
        user=ALICE.address,
        provider=PETRA,
        balance=4 * NEURON,
        pending_refund=NEURON + 1,
        refunds=[{"amount": str(NEURON + 1), "created_at": 1_700_000_000}],
        acknowledged=True,
        block=5,
    )


# --- pages ---------------------------------------------------------------------------------------


def test_the_numbers_are_the_rows_and_their_parts_sum_to_the_neuron(
    alice: Client, contracts: Contracts, site: None
) -> None:
    hold(contracts)
    html = alice.get("/account").content.decode()
    available, locked = neuron(html, "available"), neuron(html, "locked")
    assert (available, neuron(html, "refunding")) == (6 * NEURON - 3, NEURON + 1)
    assert available + locked + neuron(html, "refunding") == 10 * NEURON - 3
    assert neuron(html, "wallet") == contracts.chain.balance(ALICE.address)
    shown = pages.balances(account(ALICE.address), None)
    assert sum(part.share.width for part in shown.parts) == 10_000
    assert 'data-testid="position-row"' in html
    # Each part leads to its rows.
    for rows in (
        "/account/transactions?balance=available#movements",
        "#providers",
        "/account/refunds",
    ):
        assert f'</i><a href="{rows}">' in html


def test_a_refund_shows_when_it_unlocks_by_todays_lock_time(
    alice: Client, contracts: Contracts, site: None
) -> None:
    hold(contracts)
    html = alice.get("/account/refunds").content.decode()
    assert f'data-amount="{NEURON + 1}"' in html
    assert 'data-unlocks-at="2023-11-15T22:13:20Z"' in html
    assert 'data-testid="refund-collect"' in html  # long unlocked
    ServingContract.objects.update(lock_time_seconds=604_800)
    assert 'data-unlocks-at="2023-11-21T22:13:20Z"' in (
        alice.get("/account/refunds").content.decode()
    )


def test_a_provider_that_is_asked_for_is_offered_however_many_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    factories.market(6)
    monkeypatch.setattr(forms, "_MAX_CHOICES", 1)
    query = {"action": "transfer", "provider": factories.address(0)}
    choices = forms.build(query, account(ALICE.address), None, {}).choices
    (chosen,) = (choice for choice in choices if choice.selected)
    assert chosen.value.startswith("inference") and "qwen" in chosen.label


@pytest.mark.parametrize("path", PAGES)
def test_without_a_session_no_page_shows_money(path: str, contracts: Contracts) -> None:
    hold(contracts)
    answer = Client().get(path)
    html = answer.content.decode()
    assert answer.status_code == 200
    assert "Connect your wallet and sign in" in html
    assert PETRA not in html and "balance-available" not in html


@pytest.mark.parametrize("path", PAGES)
def test_one_persons_pages_never_show_anothers_money(
    path: str, contracts: Contracts, site: None
) -> None:
    hold(contracts)
    bob = Client()
    bob.force_login(User.objects.for_address(BOB.address))
    html = bob.get(path).content.decode()
    assert PETRA not in html and ALICE.address not in html


@pytest.mark.parametrize("path", PAGES)
def test_private_pages_are_not_kept_by_caches(path: str, alice: Client, site: None) -> None:
    assert "no-store" in alice.get(path)["Cache-Control"]


def test_first_steps_are_told_with_the_contracts_own_minimum(alice: Client, site: None) -> None:
    html = alice.get("/account").content.decode()
    assert "Your first deposit opens the account: at least 3 0G." in html
    assert "No compute account yet" in html
    # What needs an account leads to one, and offers nothing that could only be refused.
    html = alice.get("/account?action=retrieve").content.decode()
    assert '<a href="/account?action=transfer">Transfer</a> opens one.' in html
    assert ">Review</button>" not in html
    html = alice.get("/account?action=delete_ledger").content.decode()
    assert ">Nothing to close<" in html and "You have no compute account." in html
    assert "Create" not in html and 'data-testid="closing"' not in html
    html = alice.get("/account/analytics?window=all").content.decode()
    assert 'href="?window=all">All time</a>' not in html.partition('class="stack"')[2]


def test_only_a_test_network_has_a_faucet(alice: Client, site: None, settings: Any) -> None:
    assert "faucet" not in alice.get("/account").content.decode()
    settings.NETWORK = replace(settings.NETWORK, faucet_url="https://faucet.example")
    assert 'href="https://faucet.example"' in alice.get("/account").content.decode()
    assert "faucet" not in alice.get("/account?action=withdraw").content.decode()


def test_a_silent_chain_leaves_the_page_readable(
    alice: Client, contracts: Contracts, settings: Any, free_port: int
) -> None:
    settings.CHAIN_RPC_URLS = (f"http://127.0.0.1:{free_port}",)
    hold(contracts)
    path = "/account?action=withdraw&amount=1"
    html = alice.get(path + "&then=/playground/images").content.decode()
    assert neuron(html, "available") == 6 * NEURON - 3
    assert "the chain does not answer right now" in html
    # Nobody could be asked: that is no refusal, and one click asks again.
    assert 'data-state="draft" data-code="chain_unreachable">Not checked<' in html
    assert "Nothing was sent" in html and "Would be refused" not in html
    again = f"{path}&then=%2Fplayground%2Fimages".replace("&", "&amp;")
    assert f'href="{again}">Check again<' in html
    # How old the numbers are stands beside them, with no other cause than the banner names.
    ago = timezone.now() - timedelta(minutes=7)
    factories.head(checked_at=ago, updated_at=ago, error="no answer")
    html = alice.get("/account").content.decode()
    assert "The chain cannot be reached. Nothing here is newer than block" in html
    assert re.search(r"as of block [\d,]+: the last agreement .* was <time[^>]*>7 min ago<", html)


def test_a_chain_that_hangs_costs_a_page_one_wait(
    alice: Client, contracts: Contracts, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for asked in (node.call, node.call_many):
        monkeypatch.setattr(asked, "__kwdefaults__", {"timeout": 0.2})
    monkeypatch.setattr(node, "GLANCE_SECONDS", 0.2, raising=False)
    monkeypatch.setattr(selectors, "SILENT_FOR", 600, raising=False)  # of this port alone
    monkeypatch.setattr(node._local, "silent_until", 0.0, raising=False)
    hold(contracts)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings.CHAIN_RPC_URLS = (f"http://127.0.0.1:{silent.getsockname()[1]}",)
        html = alice.get("/account?action=withdraw&amount=1").content.decode()
        assert "the chain does not answer right now" in html
        silent.setblocking(False)
        silent.accept()[0].close()
        with pytest.raises(BlockingIOError):  # nobody has asked again
            silent.accept()
        # Nor do the pages of the next seconds, whichever process makes them.
        monkeypatch.setattr(node._local, "silent_until", 0.0)
        assert "the chain does not answer right now" in alice.get("/account").content.decode()
        with pytest.raises(BlockingIOError):
            silent.accept()


def test_a_late_index_is_said_to_be_late(alice: Client, site: None) -> None:
    ago = timezone.now() - timedelta(hours=1)
    Head.objects.create(chain_id=31337, indexed_block=7, head_block=900, checked_at=ago)
    assert "as of block 7" in alice.get("/account").content.decode()
    # Whose account it does not know yet may have one: the chain knows.
    assert ">Review</button>" in alice.get("/account?action=withdraw").content.decode()


def test_a_review_is_a_link_and_needs_no_script(alice: Client, site: None) -> None:
    html = alice.get("/account?action=deposit&amount=5").content.decode()
    assert 'data-testid="tx-review"' in html and 'data-state="prechecked"' in html
    assert "<noscript>This needs JavaScript.</noscript>" in html, "its button is a script's"
    assert f'data-after="{5 * NEURON}"' in html
    html = alice.get("/account?action=deposit&amount=1").content.decode()
    assert 'data-state="blocked"' in html and "At least 3 0G is needed" in html
    assert ">Would be refused<" in html and "Check again" not in html
    assert re.search('data-copy="MinimumDepositRequired · [0-9a-f]{16}" title="Copy details"', html)
    factories.head()
    html = alice.get("/account?action=withdraw").content.decode()
    assert "so there is nothing to withdraw" in html and ">Review<" not in html
    html = alice.get("/account?action=deposit&amount=90000000").content.decode()
    assert 'data-code="insufficient_wallet_balance">Your wallet holds too little<' in html
    html = alice.get("/account?action=deposit_for&amount=5&recipient=0x12").content.decode()
    assert ">Not complete<" in html and "The recipient must be an address" in html


@pytest.mark.parametrize(
    "query",
    [
        "action=deposit&amount=2.000000000000000001",
        f"action=deposit_for&amount=5&recipient={BOB.address}",
        f"action=transfer&amount=5&account=inference-v1.0%3A{PETRA}",
        f"action=retrieve&account=inference-v1.0%3A{PETRA}",
        f"action=acknowledge_signer&account=inference-v1.0%3A{PETRA}&trust=no",
        f"action=revoke_tokens&provider={PETRA}&slots=3%2C+7",
    ],
)
def test_the_way_back_to_a_form_keeps_everything_that_was_typed(
    alice: Client, contracts: Contracts, settings: Any, free_port: int, query: str
) -> None:
    settings.CHAIN_RPC_URLS = (f"http://127.0.0.1:{free_port}",)
    hold(contracts)
    first = alice.get(f"/account?{query}").content.decode()
    found = re.search(r'href="([^"]+)">Check again<', first)
    assert found, query
    again = html_lib.unescape(found[1])
    assert sorted(parse_qsl(again.split("?")[1])) == sorted(parse_qsl(query))


@pytest.mark.parametrize(
    "query",
    [
        "action=nothing&amount=<script>alert(1)</script>",
        "action=transfer&account=<b>:0x12&amount=1",
        "action=transfer&provider=%00&amount=1",
        "action=deposit_for&recipient=%3Cimg%3E&amount=1",
        "action=retrieve&account=inference-v1.0:zz",
        "amount=1e999&action=withdraw",
        "amount=" + "9" * 500,
        "action=transfer&account=" + "x" * 5000,
    ],
)
def test_hostile_queries_are_refused_in_words(alice: Client, site: None, query: str) -> None:
    answer = alice.get(f"/account?{query}")
    assert answer.status_code == 200
    assert b"<script>alert" not in answer.content and b"<img>" not in answer.content


def test_every_form_has_its_page_and_its_verdict(
    alice: Client, contracts: Contracts, site: None
) -> None:
    hold(contracts)
    contracts.ledger.send(ALICE, "depositFund", value=10 * NEURON)
    contracts.ledger.send(ALICE, "transferFund", PETRA, "inference-v1.0", 4 * NEURON)
    at = f"account=inference-v1.0:{PETRA}"
    for query, words in (
        (f"action=acknowledge_signer&{at}&trust=no", "only when the balance at this provider is 0"),
        (f"action=revoke_all_tokens&{at}", "generation 1"),
        ("action=delete_ledger", "10 0G is still in the account."),
        (f"action=retrieve&{at}", "Later: 4 0G starts its lock"),
        (f"provider={PETRA.lower()}&amount=1", "Transfer 1 0G to a provider"),
        (f"action=deposit_for&recipient={BOB.address}&amount=3", "you cannot take it back"),
        ("action=deposit_for&recipient=nobody&amount=3", "must be an address"),
        (f"action=deposit_for&recipient={ALICE.address}&amount=3", "That is your own address"),
        (f"action=revoke_tokens&{at}&slots=3,+x,+7", "“x” is no slot"),
        (f"action=revoke_tokens&{at}&slots=300", "“300” is no slot"),
        (f"action=revoke_tokens&{at}&slots=250-300", "“250-300” is no slot"),
        (f"action=revoke_tokens&{at}&slots=3+7+-+9", "0x9965…A4dc#9"),
    ):
        assert words in alice.get(f"/account?{query}").content.decode(), query
    each = [*range(255)]
    assert forms.slots_of(", ".join(map(str, each))) == each
    # What is refused leads to what mends it.
    here = f"account=inference-v1.0%3A{PETRA}"
    for query, way in (
        (f"action=acknowledge_signer&{at}&trust=no", f"action=retrieve&amp;{here}"),
        (f"action=revoke_all_tokens&provider={PAUL}", f"action=transfer&amp;provider={PAUL}"),
        ("action=delete_ledger", "action=withdraw"),
        # The amounts that the contract takes, each a button.
        ("action=withdraw&amount=5", "action=withdraw&amp;amount=6"),
        ("action=withdraw&amount=5", "action=withdraw&amp;amount=3"),
        ("action=withdraw&amount=7", "action=withdraw&amp;amount=5.999999999999999997"),
        (  # with the reserve, without which it would answer nothing
            f"action=transfer&provider={PAUL}&amount=0.5",
            "action=transfer&amp;amount=2&amp;provider",
        ),
        (f"action=deposit_for&amount=1&recipient={BOB.address}", "action=deposit_for&amp;amount=3"),
    ):
        html = alice.get(f"/account?{query}").content.decode()
        assert f'class="button" href="/account?{way}' in html, query
    html = alice.get(f"/account?action=transfer&amount=1&provider={ALICE.address}").content.decode()
    assert 'class="button" href="/">Find another provider</a>' in html
    # Nobody could ever take it out: that is not to be overlooked.
    own = contracts.ledger.address
    html = alice.get(f"/account?action=deposit_for&amount=3&recipient={own}").content.decode()
    assert re.search(r'<p class="notice bad"[^>]*>.*?nobody could ever take it out', html, re.S)
    # Five refunds wait: when the next place is free stands where a sixth is refused.
    for part in (20, 10, 5, 2, 1):
        contracts.ledger.send(ALICE, "retrieveFund", [PETRA], "inference-v1.0")
        contracts.ledger.send(ALICE, "transferFund", PETRA, "inference-v1.0", part * NEURON // 10)
    began = int(timezone.now().timestamp())
    five = [{"amount": "1", "created_at": began - 60 + n} for n in range(5)]
    SubAccount.objects.update(refunds=five, pending_refund=5)
    # The same provider's fine-tuning has a queue of its own, whose place is free a day later.
    tuning = contracts.fine_tuning.address
    factories.contract(kind="fine-tuning", address=tuning, lock_time_seconds=172_800)
    factories.sub_account(ALICE.address, PETRA, serving=tuning, refunds=five, pending_refund=5)
    html = alice.get(f"/account?action=retrieve&{at}").content.decode()
    assert "5 refunds are already waiting" in html and "The next place is free in 23 hours" in html


def test_amounts_and_rows_go_by_what_a_week_cost(
    alice: Client, contracts: Contracts, site: None
) -> None:
    hold(contracts)
    for days, amount in ((1, NEURON // 3), (9, 50 * NEURON)):
        Movement.objects.create(
            user=ALICE.address,
            provider=PETRA,
            serving=contracts.inference.address,
            kind="settlement",
            balance="sub_account",
            amount=-amount,
            balance_after=0,
            block=10 - days,
            at=timezone.now() - timedelta(days=days),
            tx_hash=factories.tx_hash(days),
            source="event",
        )

    def presets(query: str) -> dict[str, str]:
        html = alice.get(f"/account?{query}").content.decode()
        line = html.partition('class="presets">')[2].partition("</p>")[0]
        found = re.findall(r'href="([^"]+)">([^<]+)<', line)
        return {words: dict(parse_qsl(html_lib.unescape(to)[9:]))["amount"] for to, words in found}

    assert presets("action=deposit") == {
        "1 0G": "1",
        "5 0G": "5",
        "1 week ≈ 0.34 0G": "0.34",
        "4 weeks ≈ 1.34 0G": "1.34",
    }
    # At a provider: its own week, and never more than there is.
    assert presets(f"action=transfer&account=inference-v1.0:{PETRA}") == {
        "1 0G": "1",
        "1 week ≈ 0.34 0G": "0.34",
        "4 weeks ≈ 1.34 0G": "1.34",
        "All that is available": "5.999999999999999997",
    }
    assert "2 0G" in presets(f"action=transfer&provider={PAUL}")  # above the reserve
    # The contract refuses a first transfer of less than its minimum, and takes a later one.
    Ledger.objects.update(available=NEURON // 2)
    assert presets(f"action=transfer&provider={PAUL}") == {}
    held = presets(f"action=transfer&account=inference-v1.0:{PETRA}")
    assert held["All that is available"] == "0.5"
    Ledger.objects.update(available=6 * NEURON - 3)
    html = alice.get("/account").content.decode()
    row = html.partition('data-testid="position-week"')[2].partition("</td>")[0]
    # 2.99… 0G are free, 1 of it is kept in reserve.
    assert f'data-neuron="{NEURON // 3}"' in row and "lasts 42 days" in row
    # One cheap week tells nothing of decades.
    SubAccount.objects.update(balance=400 * NEURON)
    html = alice.get("/account").content.decode()
    assert "lasts more than a year" in html.partition('data-testid="position-week"')[2]
    # A hundredth of 0G is not about what less than that cost.
    Movement.objects.update(amount=-(NEURON // 200))
    assert list(presets("action=deposit")) == ["1 0G", "5 0G", "4 weeks ≈ 0.02 0G"]


def test_anybodys_account_can_be_read(contracts: Contracts) -> None:
    hold(contracts)
    answer = Client().get(f"/accounts/{ALICE.address.lower()}")
    html = answer.content.decode()
    assert neuron(html, "available") == 6 * NEURON - 3
    assert "tx-confirm" not in html and "Top up" not in html
    for wrong in ("0x12", "nobody", ALICE.address[:-1] + "g"):
        assert Client().get(f"/accounts/{wrong}").status_code == 404


def test_the_funds_page_costs_the_same_for_few_and_many_accounts(
    alice: Client, contracts: Contracts, site: None, django_assert_max_num_queries: Any
) -> None:
    hold(contracts)
    alice.get("/account")  # reads what is kept for the next minutes
    with django_assert_max_num_queries(22):
        alice.get("/account")
    for number in range(40):
        SubAccount.objects.create(
            serving=contracts.inference.address,
            user=ALICE.address,
            provider=factories.address(number),
            balance=NEURON,
            block=6,
        )
    with django_assert_max_num_queries(22):
        alice.get("/account")
