"""From a broker's machine to a stored verdict: real chain, brokers, attestation services, index and
`verify_service`; and a relay in between that changes what the broker said.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlencode

import pytest
import requests
from django.core.management import call_command

from attestation import trust
from attestation.models import Verification
from attestation.verify import Exchange, signer_of
from attestation.verify import reply as judge_reply
from devnet import accounts
from devnet.anvil import Anvil
from devnet.attestation.server import Server
from devnet.attestation.services import Services
from devnet.deploy import connect, deploy
from ledger import services as ledger
from protocol import replies
from provider.tee import development
from tests.db.verification_world import Provider, Query, Reply
from tests.live.provider_lab import Broker, Lab, Upstream, served

pytestmark = pytest.mark.django_db(transaction=True)
DEVELOPMENT = {"tdx.root"}  # red under every development root
MODEL = accounts.model_signer(1)
SEPARATED = {"additional_info": {"TargetSeparated": True, "TargetTeeAddress": MODEL.address}}
Tamper = Callable[[dict[str, Any]], None]


class Relay(Provider):
    """Passes everything on, after `tamper` had its way with the JSON."""

    def __init__(self) -> None:
        super().__init__(self._pass_on)
        self.behind = ""
        self.tamper: Tamper | None = None
        self.drop_signature = False

    def _pass_on(self, path: str, query: Query) -> Reply:
        found = requests.get(f"{self.behind}{path}?{urlencode(query)}", timeout=10)
        body, headers = found.content, {}
        if not self.drop_signature and "ZG-Quote-Signature" in found.headers:
            headers["ZG-Quote-Signature"] = found.headers["ZG-Quote-Signature"]
        if self.tamper is not None:
            document = json.loads(body)
            self.tamper(document)
            body = json.dumps(document).encode()
        return Reply(body, found.status_code, headers)


@dataclass
class Market:
    """Brokers by name, the services that vouch for them, and the relay in front of "relayed"."""

    lab: Lab
    brokers: dict[str, Broker]
    server: Server
    anchors: Path
    rpc: str
    relay: Relay


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    folder = tmp_path_factory.mktemp("market")
    seed, anchors = folder / "seed", folder / "anchors.json"
    services = Services(development.seed(seed))
    anchors.write_text(json.dumps(services.anchors()))
    machines: dict[str, dict[str, Any]] = {
        "complete": {},
        "relayed": {"gpus": 2},
        "outdated": {"tcb": "OutOfDate"},
        "debug": {"debug": True},
        "separated": {"gpus": 2, "model_key": "0x" + bytes(MODEL.key).hex()},
    }
    relay = Relay()
    with (
        Anvil() as node,
        Server(services) as server,
        relay_running(relay),
        served(Upstream()) as model,
    ):
        lab = Lab(connect(node.url, deploy(node.url)), node.url, folder)
        brokers = {}
        for name, machine in machines.items():
            tee = {"machine": {"seed_file": str(seed), **machine}}
            service = {"relayed": {"url": relay.url}, "separated": SEPARATED}.get(name, {})
            made = Broker(lab, lab.person(), f"{model}/v1", tee=tee, service=service).start()
            lab.acknowledge(made.address)
            brokers[name] = made
        relay.behind = brokers["relayed"].url
        yield Market(lab, brokers, server, anchors, node.url, relay)
        for broker in brokers.values():
            broker.stop()


@contextmanager
def relay_running(relay: Relay) -> Iterator[None]:
    Thread(target=relay.serve_forever, args=(0.02,), daemon=True).start()
    yield
    relay.shutdown()
    relay.server_close()


@pytest.fixture
def site(market: Market, settings: Any) -> Iterator[Market]:
    """A site that follows this chain and believes these roots."""
    settings.CHAIN_RPC_URLS = (market.rpc,)
    settings.ALLOW_PRIVATE_PROVIDERS = True
    settings.ATTESTATION_ANCHORS = str(market.anchors)
    for name, value in market.server.environment.items():
        setattr(settings, name, value)
    trust._load.cache_clear()
    ledger.follow(once=True)
    market.relay.tamper, market.relay.drop_signature = None, False
    yield market
    trust._load.cache_clear()


def verify(market: Market, name: str) -> tuple[int, dict[str, Any]]:
    """Exit code and document of `verify_service`."""
    output = StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("verify_service", market.brokers[name].address, "--json", stdout=output)
    assert isinstance(ended.value.code, int)
    return ended.value.code, json.loads(output.getvalue())


def failing(document: dict[str, Any]) -> set[str]:
    return {id for id, word in document["checks"].items() if word == "fail"} - DEVELOPMENT


def test_each_machine_is_shown_for_what_it_is(site: Market) -> None:
    code, complete = verify(site, "complete")
    assert (code, complete["overall"], failing(complete)) == (2, "dev-pass", set())
    weak = {id for id, word in complete["checks"].items() if word == "warn"}
    assert weak == {"bind.nonce", "gpu.cpu_gpu"}, "no nonce in this layout, no binding on Hopper"
    code, two = verify(site, "relayed")
    assert (two["overall"], failing(two)) == ("dev-pass", set())
    for id in ("gpu1.measurements", "gpu1.revocation", "gpu.distinct", "nras.GPU-1", "tdx.qvl"):
        assert two["checks"][id] == "pass", id
    code, outdated = verify(site, "outdated")
    assert (code, outdated["overall"], failing(outdated)) == (2, "dev-warn", set())
    assert outdated["checks"]["tdx.tcb"] == "warn"
    code, debug = verify(site, "debug")
    assert (code, debug["overall"]) == (1, "fail")
    assert failing(debug) == {"tdx.debug", "tdx.qvl"}
    runs = {run.provider: run for run in Verification.objects.all()}
    facts = runs[site.brokers["outdated"].address].facts
    assert facts["tcb_status"] == "OutOfDate" and facts["advisory_ids"]
    assert all(run.development for run in runs.values())
    assert len({run.ppid for run in runs.values()}) == 4, "four machines, not one"
    assert all(run.notes == [] for run in runs.values()), "nothing was missing"


def test_a_model_in_a_machine_of_its_own_is_judged_by_itself(site: Market) -> None:
    """Its report is made for our nonce; the broker's machine has no GPU."""
    document = verify(site, "separated")[1]
    assert (document["overall"], failing(document)) == ("dev-pass", set())
    broker, model = document["endpoints"]["broker"], document["endpoints"]["model"]
    assert broker["checks"]["gpu.present"] == "not_provided"
    assert (model["overall"], model["questions"]["fresh"]) == ("dev-pass", "pass")
    for id in ("bind.nonce", "bind.onchain", "gpu1.nonce", "gpu1.measurements"):
        assert model["checks"].get(id) == "pass", id
    runs = {run.endpoint: run for run in Verification.objects.all()}
    assert runs["model"].attested_signer == MODEL.address != runs["broker"].attested_signer
    assert runs["model"].ppid != runs["broker"].ppid


def test_its_own_key_signs_the_answers(site: Market) -> None:
    broker, user = site.brokers["separated"], site.lab.person()
    site.lab.fund(user, broker.address)
    answer = broker.ask(user.provider_key(broker.address))
    chat_id = answer.headers["ZG-Res-Key"]
    reply = requests.get(f"{broker.url}/v1/proxy/signature/{chat_id}?model=x", timeout=10).json()
    service = site.lab.service(broker.address)
    signer = signer_of(
        tee_signer=service["teeSignerAddress"],
        acknowledged=service["teeSignerAcknowledged"],
        verifiability=service["verifiability"],
        additional_info=service["additionalInfo"],
    )
    assert signer is not None and signer.address == reply["signing_address"] == MODEL.address
    assert isinstance(answer.request.body, bytes)
    sent = replies.sha256_hex(answer.request.body)
    exchange = Exchange(sent, replies.sha256_hex(answer.content), complete=True)
    assert judge_reply(reply, exchange, signer).verdict == "verified"


def flip(text: str, position: int) -> str:
    """One hex digit is another one."""
    other = "0" if text[position] != "0" else "1"
    return text[:position] + other + text[position + 1 :]


def in_quote(offset: int) -> Tamper:
    def tamper(document: dict[str, Any]) -> None:
        document["quote"] = flip(document["quote"], 2 * offset)

    return tamper


def in_gpu(document: dict[str, Any]) -> None:
    payload = json.loads(document["nvidia_payload"])
    entry = payload["evidence_list"][1]
    evidence = bytearray(base64.b64decode(entry["evidence"]))
    evidence[1000] ^= 1
    entry["evidence"] = base64.b64encode(evidence).decode()
    document["nvidia_payload"] = json.dumps(payload)


def in_event(document: dict[str, Any]) -> None:
    events = json.loads(document["event_log"])
    (event,) = [event for event in events if event["event"] == "app-id"]
    event["event_payload"] = flip(event["event_payload"], 0)
    document["event_log"] = json.dumps(events)


def in_compose(document: dict[str, Any]) -> None:
    info = json.loads(document["tcb_info"])
    info["app_compose"] = info["app_compose"].replace("broker", "brokes", 1)
    document["tcb_info"] = json.dumps(info)


def one_gpu_less(document: dict[str, Any]) -> None:
    payload = json.loads(document["nvidia_payload"])
    payload["evidence_list"].pop()
    document["nvidia_payload"] = json.dumps(payload)


@pytest.mark.parametrize(
    ("tamper", "rows", "signed"),
    [
        (in_quote(520 + 48 + 3), {"tdx.sig", "tdx.qvl"}, False),  # report_data
        (in_quote(184), {"tdx.sig", "tdx.qvl"}, True),  # mr_td
        (in_quote(640), {"tdx.sig", "tdx.qvl"}, False),  # the signature itself
        (in_quote(900), {"tdx.qe_sig", "tdx.qvl"}, True),  # the quoting enclave's report
        (in_event, {"dstack.rtmr3", "dstack.digests"}, False),
        (in_compose, {"dstack.compose", "dstack.mrconfig"}, True),
        (in_gpu, {"gpu1.sig"}, True),
        (in_gpu, {"gpu1.sig"}, False),
        (one_gpu_less, {"gpu.present"}, False),
    ],
)
def test_one_changed_byte_between_broker_and_site_is_a_fail(
    tamper: Tamper, rows: set[str], signed: bool, site: Market
) -> None:
    """At its own row; and at the body's signature, unless the relay hides that."""
    site.relay.tamper, site.relay.drop_signature = tamper, not signed
    code, document = verify(site, "relayed")
    assert (code, document["overall"]) == (1, "fail")
    assert rows <= failing(document)
    if signed:
        assert "bind.body_sig" in failing(document)


def test_a_relay_that_changes_nothing_is_noticed_by_nobody(site: Market) -> None:
    site.relay.drop_signature = True
    document = verify(site, "relayed")[1]
    assert (document["overall"], failing(document)) == ("dev-pass", set())
    assert document["checks"]["bind.body_sig"] == "not_provided"


def test_without_the_services_rows_are_unchecked_and_nothing_is_green(
    site: Market, settings: Any
) -> None:
    settings.PCS_URL = settings.RIM_URL = settings.OCSP_URL = "http://127.0.0.1:9999"
    settings.NRAS_URL = "http://127.0.0.1:9999"
    code, document = verify(site, "complete")
    assert (code, failing(document)) == (2, set())
    assert document["overall"] in ("dev-pass", "dev-warn", "dev-partial")
    for id in ("tdx.tcb", "tdx.pck_chain", "gpu0.revocation"):
        assert document["checks"][id] == "not_checked", id
    assert document["questions"]["hardware"] != "pass"
    run = Verification.objects.get()
    assert {note["source"] for note in run.notes} >= {"tcb_info", "rim", "ocsp", "nras"}


def test_whoever_trusts_the_vendors_only_fails_every_development_machine(
    site: Market, settings: Any
) -> None:
    settings.ATTESTATION_ANCHORS = "vendor"
    code, document = verify(site, "complete")
    assert (code, document["overall"]) == (1, "fail")
    assert {"tdx.pck_chain", "gpu0.chain"} <= failing(document)
    assert set(document["questions"].values()) <= {"fail", "not_provided", "warn"}
