"""Who answers a program's request: the pinned provider, or the only verified one; nobody else."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict, replace
from typing import Any
from unittest.mock import ANY

import pytest
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from redis import Redis

from accounts import tokens
from accounts.models import AccessToken, ProviderKey
from attestation.assurance import Assurance
from attestation.engine.evidence import Evidence
from attestation.models import Standing
from inference import abilities, services, turnlog
from inference.costs import Cost
from inference.hub import Hub
from inference.models import State, Turn
from inference.openai import asks, choose, listing, outcome, turn_rows
from inference.openai.asks import Ask
from inference.openai.choose import Grant, Grants
from inference.openai.errors import ApiError
from ledger.models import Service, SubAccount
from net.cache import keep
from tests import factories
from tests.db import report_world
from tests.db.chat_world import make_key, world
from tests.db.test_verified_only import basis
from tests.pure.attestation_lab import ADDRESS, lab

pytestmark = pytest.mark.django_db
MODEL = "some-model"


@pytest.fixture
def token(db: None, monkeypatch: pytest.MonkeyPatch) -> AccessToken:
    """Alice's token; Petra's service is verified (by development evidence)."""
    monkeypatch.setattr(listing, "_known", (0.0, []))
    chat = world("http://127.0.0.1:9", model=MODEL)
    Service.objects.update(tee_signer=ADDRESS)
    made = report_world.machine()
    report_world.stored(Evidence("report", lab().body(made)), lab().context(made))
    Standing.objects.update(basis=basis())
    return tokens.create(chat.owner, tokens.Wanted("job", scopes=("inference",))).row


def ask(model: str = MODEL, **more: Any) -> Ask:
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], **more}
    return asks.read(asks.CHAT, "application/json", json.dumps(body).encode())


def grant(token: AccessToken, wanted: Ask) -> Grant:
    return Grants().find(token.digest, token, wanted, "http://site")


def refused(token: AccessToken, wanted: Ask) -> ApiError:
    with pytest.raises(ApiError) as error:
        grant(token, wanted)
    return error.value


def test_a_plain_name_means_the_only_verified_provider(token: AccessToken) -> None:
    factories.service(factories.BOB, model=MODEL, input_price=1, output_price=1)  # cheaper, unknown
    assert grant(token, ask()).listing.provider == factories.PETRA
    Standing.objects.all().delete()
    error = refused(token, ask())
    assert (error.status, error.code) == (400, "provider_ambiguous")
    assert [x["provider"] for x in error.more["choices"]] == [factories.BOB, factories.PETRA]
    assert not any(x["verified"] for x in error.more["choices"])
    assert error.message.startswith("No provider of this model counts as verified for sending;")
    with pytest.raises(ApiError) as looked_up:  # whoever looks the name up is told the same
        listing.model(token, MODEL, "")
    assert looked_up.value.code == error.code and looked_up.value.more == error.more
    # said by name, an unverified one may be asked; not by a token that forbids it
    assert grant(token, ask(f"{MODEL}@{factories.PETRA.lower()}")).listing.tee_signer == ADDRESS
    token.verified_only = True
    assert refused(token, ask(f"{MODEL}@{factories.PETRA}")).code == "not_verified"
    token.providers = [factories.BOB]
    assert refused(token, ask(f"{MODEL}@{factories.PETRA}")).code == "provider_not_allowed"


def test_how_many_services_there_are_costs_no_query(
    token: AccessToken, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[Any]()
    command: Any = Redis.execute_command

    def counted(*given: Any, **more: Any) -> Any:
        asked.append(given[1:])
        return command(*given, **more)

    monkeypatch.setattr(Redis, "execute_command", counted)

    def verified() -> tuple[set[str], int]:
        monkeypatch.setattr(listing, "_known", (0.0, []))
        asked.clear()
        with CaptureQueriesContext(connection) as captured:
            data = listing.models(token)["data"]
        verified = {entry["provider"] for entry in data if entry["verified"]}
        return verified, len(captured) + len(asked)

    as_it_was = Service.objects.get().additional_info
    Service.objects.update(additional_info='{"contextLength": 8192}')
    monkeypatch.setattr(listing, "_known", (0.0, []))
    said = listing.models(token)["data"]
    assert {entry["context_length"] for entry in said} == {8192}, "as the provider declares it"
    Service.objects.update(additional_info=as_it_was)
    before, queries = verified()
    assert not any("context_length" in entry for entry in listing.models(token)["data"])
    for provider in (factories.BOB, factories.CHARLIE):
        for row in (Service.objects.latest("pk"), Standing.objects.latest("pk")):
            row.pk, row.provider = None, provider
            row.save(force_insert=True)
    assert verified() == ({*before, factories.BOB, factories.CHARLIE}, queries)
    mine = next(x.listing for x in listing._allowed(token) if x.listing.provider == factories.BOB)
    keep(abilities._name(mine), asdict(abilities.Abilities(context=4096)), 60)
    verified()
    said = [entry.get("context_length") for entry in listing.models(token)["data"]]
    assert sorted(said, key=str) == [4096, None, None], "as it says itself"
    # Dear ones, too, of more than are read at once.
    with monkeypatch.context() as few:
        few.setattr("ledger.selectors.MAX_PAGE_SIZE", 1)
        assert verified()[0] == {*before, factories.BOB, factories.CHARLIE}
    assert refused(token, ask()).message.startswith("Of 3 providers of this model, 3 are verified")


def test_a_provider_in_two_contracts_is_listed_once_as_it_is_asked(token: AccessToken) -> None:
    name, older = "inference-v0.9", factories.address("older")
    factories.contract(address=older, service_name=name, recommended=False)
    standing = Standing.objects.get()
    standing.service_name = name
    for row in (Service.objects.get(), standing):
        row.pk, row.serving = None, older
        row.save(force_insert=True)
    asked = grant(token, ask()).listing
    said = listing.models(token)["data"]
    assert [entry["id"] for entry in said] == [MODEL, f"{MODEL}@{asked.provider}"]
    assert listing.model(token, MODEL, "")["provider"] == asked.provider
    assert [x.listing.serving for x in listing._allowed(token)] == [asked.serving]


def test_a_tuned_model_is_asked_beside_the_base_model_of_the_provider_that_is_named(
    token: AccessToken,
) -> None:
    found = grant(token, ask(f"ft-mine-1234@{factories.PETRA}"))
    assert (found.listing.provider, found.listing.model) == (factories.PETRA, MODEL)
    assert "where it is loaded" in refused(token, ask("ft-mine-1234")).message
    assert refused(token, ask(f"mine@{factories.PETRA}")).code == "model_not_found"
    token.model_names = [MODEL]
    with_limit = refused(token, ask(f"ft-mine-1234@{factories.PETRA}"))
    assert with_limit.code == "model_not_allowed"
    token.model_names, token.providers = ["ft-mine-1234"], [factories.PETRA]
    assert grant(token, ask(f"ft-mine-1234@{factories.PETRA}")).listing.model == MODEL
    Service.objects.update(tee_signer_acknowledged=False)
    assert refused(token, ask(f"ft-mine-1234@{factories.PETRA}")).code == "model_not_found"


def test_how_many_are_verified_is_said_as_the_pages_say_it() -> None:
    def said(*words: str) -> str:
        reasons = {"fail": "fail", "never": "never"}
        known = [Assurance(reasons.get(word, ""), word, None) for word in words]  # type: ignore[arg-type]
        return choose._said(known)

    assert said("fail", "never") == "No provider of this model counts as verified for sending"
    assert said("pass", "pass", "warn") == (
        "Of 3 providers of this model, 2 are verified and 1 is verified, with warnings"
    )
    assert said("dev-warn", "warn", "fail") == (
        "Of 3 providers of this model, 2 are verified, with warnings"
    )


def test_a_model_of_another_endpoint_and_half_an_address_are_told(token: AccessToken) -> None:
    body = {"model": MODEL, "prompt": "a cat"}
    for name in (MODEL, f"{MODEL}@{factories.PETRA}"):
        text = json.dumps({**body, "model": name}).encode()
        wrong = asks.read(asks.GENERATIONS, "application/json", text)
        error = refused(token, wrong)
        assert error.code == "model_not_found"
        assert "answers /v1/chat/completions, not /v1/images/generations" in error.message
    with pytest.raises(ApiError) as mistyped:
        ask(f"{MODEL}@{factories.PETRA[:-1]}")
    assert mistyped.value.code == "invalid_provider" and "40 hex digits" in mistyped.value.message


def test_what_is_missing_is_named_with_the_page_that_helps(token: AccessToken) -> None:
    ProviderKey.objects.all().delete()
    error = refused(token, ask())
    assert (error.status, error.code) == (403, "no_key")
    assert f"http://site/playground/chat?provider={factories.PETRA}" in error.message
    for kind, page in (("image-editing", "images"), ("speech-to-text", "audio")):
        listing = replace(choose.candidates(MODEL, asks.CHAT, ())[0], service_type=kind)
        error = choose.not_ready("no_key", listing, "http://site")
        assert f"http://site/playground/{page}?provider={factories.PETRA}" in error.message
    make_key(token.user)
    assert grant(token, ask()).authorization.startswith("Bearer app-sk-")
    Service.objects.update(tee_signer_acknowledged=False)
    assert refused(token, ask()).code == "model_not_found"


def test_the_grant_of_a_named_provider_is_renewed_and_sees_whatever_changed(
    token: AccessToken,
) -> None:
    grants, named = Grants(), ask(f"{MODEL}@{factories.PETRA}")

    def find() -> Grant:
        return grants.find(token.digest, token, named, "http://site")

    def why() -> str:
        with pytest.raises(ApiError) as error:
            find()
        return error.value.code

    first = find()
    with CaptureQueriesContext(connection) as captured:
        assert find() == replace(first, until=ANY)
    assert len(captured) == 2, "what may have changed, and that the key was used"
    Service.objects.update(output_price=F("output_price") + 1)
    assert find().listing.output_price == first.listing.output_price + 1
    assert find().tariff.output_price == first.tariff.output_price + 1
    first.chat.delete()
    assert find().chat.pk != first.chat.pk
    SubAccount.objects.update(balance=0)
    assert why() == "not_funded"
    SubAccount.objects.update(balance=100 * 10**18, generation=1)
    assert why() == "no_key", "a later generation kills the keys of before"
    ProviderKey.objects.update(generation=1)
    assert find().authorization == first.authorization
    token.verified_only = True
    Standing.objects.all().delete()
    assert why() == "not_verified"
    token.providers = [factories.BOB]
    assert why() == "provider_not_allowed"


def test_a_grant_is_read_once_and_a_request_costs_one_statement(token: AccessToken) -> None:
    grants = Grants()
    assert grants.known(token.digest, ask()) is None
    found = grants.find(token.digest, token, ask(), "http://site")
    assert grants.known(token.digest, ask()) is found
    assert grants.known("another", ask()) is None
    with CaptureQueriesContext(connection) as captured:
        opened = turn_rows.open_row(found, ask(), "p", "00")
    assert len(captured) == 1
    with CaptureQueriesContext(connection) as captured:
        answered, cost = turn_rows.Answered("00"), Cost(opened.reserved - 3, "known")
        assert turn_rows.end_row(opened, found, State.ANSWERED, answered, cost) is False
    token.refresh_from_db()
    assert len(captured) == 1 and token.spent == cost.fee, "the row and its money, both or neither"
    assert turn_rows.end_row(opened, found, State.ANSWERED, answered, Cost(0, "none")) is None
    token.refresh_from_db()
    assert token.spent == cost.fee
    AccessToken.objects.update(revoked_at=timezone.now())
    with pytest.raises(ApiError, match="revoked"):
        turn_rows.open_row(found, ask(), "p", "00")


def test_a_spend_limit_given_a_moment_ago_holds_for_what_was_read_before(
    token: AccessToken,
) -> None:
    """Without a limit nothing is set for a request that bounds nothing, and the answer may cost
    more than was set aside."""
    found = grant(token, ask())
    AccessToken.objects.update(spend_limit=10**30)
    with pytest.raises(ApiError, match="a moment ago") as refused:
        turn_rows.open_row(found, ask(), "p", "00")
    assert refused.value.retry and not Turn.objects.exists()
    turn_rows.open_row(found, ask(max_tokens=5), "p", "00")
    assert Turn.objects.get().token_id == token.pk
    # A secret that was replaced lives on for a day, and so does what is said of it.
    later = timezone.now() + tokens.OVERLAP
    AccessToken.objects.update(
        digest="another", previous_digest=token.digest, previous_until=later, spend_limit=1
    )
    with pytest.raises(ApiError, match="spend limit"):
        turn_rows.open_row(found, ask(max_tokens=5), "p", "00")


@pytest.mark.django_db(transaction=True)
def test_a_request_whose_process_died_ends_at_its_highest_cost() -> None:
    chat = world("http://127.0.0.1:9", model=MODEL)
    asked = tokens.Wanted("job", scopes=("inference",), spend_limit=10**18)
    row = tokens.create(chat.owner, asked).row
    wanted = ask(f"{MODEL}@{factories.PETRA}", max_tokens=100)
    found = grant(row, wanted)
    opened = turn_rows.open_row(found, wanted, "a process that is gone", "00")
    assert opened.reserved == outcome.most(wanted, found.tariff, 0)

    async def visit() -> None:
        await turnlog.gone("a process that is gone")
        own = Hub()
        await own.start()
        try:
            for _ in range(100):
                if not await Turn.objects.filter(state=State.OPEN).aexists():
                    break
                await asyncio.sleep(0.05)
        finally:
            await own.close()

    asyncio.run(visit())
    turn = Turn.objects.get()
    assert (turn.state, turn.failure, turn.fee_kind) == ("cut_off", "interrupted", "unknown")
    row.refresh_from_db()
    assert turn.fee == row.spent == opened.reserved
    assert not services.cut_off(turn.pk, "")
