"""`./run demo`: the whole system on this machine, fresh at each start."""

from __future__ import annotations

import fcntl
import secrets
import shutil
import sys
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import psutil
import yaml

from devnet import accounts, attestation, history, owner
from devnet.anvil import DEVNET_ARGS, Anvil, AnvilError
from devnet.deploy import Deployment, connect, deploy
from provider.smallmodel import MODEL_NAME, model_hash
from runner import past
from runner.environment import port_of, variables
from runner.processes import Child, free_port, hold_port
from runner.serve import site_processes, stopped
from runner.tree import DATA, ROOT, Stop, Tree

SITE_PORT, CHAIN_PORT = 8000, 8545
#: In the demo's folder: whose roots vouch for every provider's evidence.
SEED = "attestation.seed"


@dataclass(frozen=True)
class Offer:
    """One demo provider; prices in neuron per token, picture or second, `machine` as in
    provider/example.yaml. `separated`: the model runs in a machine of its own, with the GPUs.
    `pictures`: it looks at pictures. `outages`: it cannot be reached half of the time. `tuned`: its
    model can be fine-tuned by the tuner, and it serves what comes of it."""

    model: str
    input_price: int
    output_price: int
    backend: str = "dev"
    machine: Mapping[str, object] = field(default_factory=dict)
    type: str = "chatbot"
    separated: bool = False
    outages: bool = False
    tuned: bool = False
    pictures: bool = False


#: Two whose development evidence is complete (the second one's model has a machine to itself), one
#: whose operator can look into its machine and who signs answers for other text than it sends, and
#: one whose hardware lacks its latest updates; then one that draws and one that listens, and one
#: that is down half of the time, a minute in turn, and says so in its name; a model so small
#: that it can be fine-tuned here, and so dear that no newcomer is led to its babble as to the
#: cheapest; and one that turns texts into vectors.
OFFERS = (
    Offer("zg-docs-reader", 100_000_000_000, 400_000_000_000, pictures=True),
    Offer("zg-docs-reader", 150_000_000_000, 600_000_000_000, machine={"gpus": 2}, separated=True),
    Offer(
        "zg-docs-reader-x",
        120_000_000_000,
        500_000_000_000,
        backend="lying",
        machine={"debug": True},
    ),
    Offer("zg-docs-reader", 80_000_000_000, 320_000_000_000, machine={"tcb": "OutOfDate"}),
    # Equal prices: clients estimate by one, brokers charge by the other (provider-protocol.md 10).
    Offer("zg-painter", 3 * 10**15, 3 * 10**15, type="text-to-image"),
    Offer("zg-listener", 10**13, 10**13, type="speech-to-text"),
    Offer("zg-docs-reader-flaky", 200_000_000_000, 800_000_000_000, outages=True),
    Offer(MODEL_NAME, 250_000_000_000, 1_000_000_000_000, tuned=True),
    Offer("zg-ngrams", 20_000_000_000, 0, type="embedding"),
)
#: The provider that fine-tunes, after those of OFFERS; neuron per token and for each result.
TUNER = len(OFFERS) + 1
TUNING_PRICE, RESULT_FEE = 500_000_000_000, 10**16
OUTAGE_SECONDS = 60
PROBE_SECONDS = 20
#: Chat models that the seeded history leaves alone: of these nobody expects an answer.
LEFT_OUT = [offer.model for offer in OFFERS if offer.outages or offer.tuned]
CHATBOTS = sum(offer.type == "chatbot" and offer.model not in LEFT_OUT for offer in OFFERS)


def claim_folder() -> tuple[Path, TextIO]:
    """A demo folder no running copy uses, emptied: `.data/demo`, else `.data/demo-2`, …"""
    DATA.mkdir(exist_ok=True)
    for number in range(1, 100):
        folder = DATA / ("demo" if number == 1 else f"demo-{number}")
        lock = (DATA / f"{folder.name}.lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        # Chain, database and broker state live and die together: an old database under a new
        # chain would be a finality violation.
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder, lock
    raise Stop("100 demos are running in this checkout; stop some")


def demo(arguments: Sequence[str]) -> int:
    """Start everything, print the ready line, run until Ctrl-C.

    `--history [N]`: on a chain that is 90 days old, with N (500) services of example.
    """
    tree = Tree(DATA / "demo")
    services = past.services_wanted(arguments)
    chain: Anvil | None = None
    lock: TextIO | None = None
    try:
        tree.data, lock = claim_folder()
        chain = start(tree, services)
        seed_tuning(tree)
        tree.wait()
    except Stop as stop:
        return stopped(stop)
    except (AnvilError, history.HistoryError) as error:
        return stopped(Stop(str(error)))
    finally:
        tree.withdraw()
        tree.stop()
        if chain is not None:
            chain.stop()
        if lock is not None:
            lock.close()
        print("demo stopped; nothing is left running", flush=True)
    return 0


def start(tree: Tree, history_services: int = 0) -> Anvil:
    """All processes in order of need; returns the chain, which the caller stops last."""
    # The site starts some seconds from now; another demo may look for a port meanwhile.
    held = hold_port(port_of(tree.env, SITE_PORT))
    port = held.getsockname()[1]
    site = f"http://127.0.0.1:{port}"
    demo_environment(tree.env, site)
    clock = history.args(past.DAYS) if history_services else DEVNET_ARGS
    chain = start_chain(clock)
    try:
        tree.env["CHAIN_RPC_URLS"] = chain.url
        tree.start_stores(durable=False)
        tree.say("chain, PostgreSQL and Valkey are up")
        # The checks import the whole site, and find nothing that a demo could change.
        migration = tree.python("migrate", "manage.py", "migrate", "--skip-checks")
        deployment = deploy(chain.url)
        tree.say(f"contracts deployed, LedgerManager {deployment.ledger}")
        if history_services:
            made = history.make(connect(chain.url, deployment), history_services)
            tree.say(f"{made.services} services of example, {made.transactions} transactions")
            tree.finished(migration, "preparing the database")
            past.pretend_measurements(tree)
        fleet = start_providers(tree, chain.url, deployment)
        if not history_services:
            tree.finished(migration, "preparing the database")
        tree.until(lambda: said(fleet.log, "attestation READY"), "the attestation services")
        held.close()
        site_processes(tree, port)
        logs = [tree.data / "logs" / f"provider-{n}.log" for n in range(1, TUNER + 1)]
        tree.until(lambda: all(said(log, "provider READY") for log in logs), "the providers")
        on_chain = connect(chain.url, deployment)
        for number in range(1, len(OFFERS) + 1):
            owner.acknowledge_signer(on_chain, accounts.provider(number).address)
        owner.acknowledge_signer(on_chain, accounts.provider(TUNER).address, "fine-tuning")
        tree.say(f"{TUNER} providers registered and acknowledged")
        # Its own start-up overlaps with the site's; it waits for the site to list the providers.
        seed = tree.python(
            "seed",
            *("manage.py", "seed_demo", "--services", str(CHATBOTS)),
            *(word for model in LEFT_OUT for word in ("--leave-out", model)),
        )
        tree.until_http(f"{site}/healthz")
        tree.announce(
            {
                "mode": "demo",
                "site_url": site,
                "rpc": chain.url,
                "contracts": contracts(deployment),
            },
            variables(),
        )
        tree.finished(seed, "seeding the history")
        tree.say("history seeded and indexed")
    except BaseException:
        held.close()
        chain.stop()
        raise
    greet(tree, chain, site)
    return chain


def start_chain(args: Sequence[str]) -> Anvil:
    """On CHAIN_PORT, unless something is there, were it another demo that begins just now."""
    try:
        return Anvil(port=free_port(CHAIN_PORT), args=args).start()
    except AnvilError as error:
        if "in use" not in str(error):
            raise
        return Anvil(port=0, args=args).start()


def demo_environment(env: dict[str, str], site: str) -> None:
    """The demo ignores settings meant for a real network, but for how to log."""
    for name in variables():
        if not name.startswith("LOG_"):
            env.pop(name, None)
    env.update(NETWORK="devnet", SITE_URL=site, ALLOW_PRIVATE_PROVIDERS="1", DATABASE_POOL_SIZE="4")
    # A demo should show measurements within a minute. Its wallet pays for tiny answers.
    chats = [n for n, o in enumerate(OFFERS, 1) if o.type == "chatbot" and not o.tuned]
    env.update(
        PROBE_INTERVAL_SECONDS=str(PROBE_SECONDS),
        SITE_WALLET_KEY="0x" + bytes(accounts.role("site").key).hex(),
        SITE_WALLET_PROVIDERS=",".join(accounts.provider(n).address for n in chats),
        SITE_WALLET_DAILY=str(10**18),
        SITE_WALLET_DAILY_PER_PROVIDER=str(10**17),
    )


def contracts(deployment: Deployment) -> dict[str, str]:
    return {
        "ledger": deployment.ledger,
        "inference": deployment.inference,
        "fine_tuning": deployment.fine_tuning,
    }


def start_providers(tree: Tree, rpc: str, deployment: Deployment) -> Child:
    """The models; the brokers in front of them, with the services that vouch for their machines,
    and 0G storage."""
    upstream, services, small, storage = (free_port() for _ in range(4))
    tree.python("answerer", "-m", "provider.answerer", "--docs", ROOT, "--port", str(upstream))
    tree.python("small-model", "-m", "provider.smallmodel.serve", "--port", str(small))
    indexer = f"http://127.0.0.1:{storage}"
    tree.env["STORAGE_INDEXER_URL"] = indexer
    network: dict[str, object] = {
        "rpc": rpc,
        "chain_id": deployment.chain_id,
        "inference": deployment.inference,
        # Whoever funds a provider expects the next request to pass.
        "cache_seconds": 1,
    }
    command: list[str | Path] = ["-m", "devnet.fleet", "--port", str(services)]
    command += ["--seed-file", tree.data / SEED, "--logs", tree.data / "logs"]
    command += ["--anchors", tree.data / "anchors.json"]
    command += ["--storage", tree.data / "storage", "--storage-port", str(storage), "--rpc", rpc]
    secret, server = secrets.token_hex(16), ""
    for number, offer in enumerate(OFFERS, 1):
        document = broker_config(number, offer, small if offer.tuned else upstream, network)
        if offer.outages:
            command += ["--outages", behind_a_door(document)]
        if offer.tuned:
            document["adapters"] = {"secret": secret, "indexer": indexer}
            server = url_of(document)
        command += ["--config", write_config(tree, number, document)]
    tuner = tuner_config(tree, rpc, deployment, indexer)
    tuner["tuning"]["handover"] = {"url": server, "secret": secret}
    command += ["--config", write_config(tree, TUNER, tuner)]
    attestation_environment(tree, f"http://127.0.0.1:{services}")
    return tree.python("fleet", *command)


def write_config(tree: Tree, number: int, document: Mapping[str, object]) -> Path:
    """A broker's file, which holds its keys."""
    config = tree.data / f"provider-{number}" / "provider.yaml"
    config.parent.mkdir(exist_ok=True)
    config.touch(mode=0o600)
    config.write_text(yaml.safe_dump(document))
    return config


def url_of(config: Mapping[str, Any]) -> str:
    """Where a broker listens."""
    return f"http://{config['listen']['host']}:{config['listen']['port']}"


def tuner_config(
    tree: Tree, rpc: str, deployment: Deployment, indexer: str
) -> dict[str, dict[str, object] | Any]:
    """The fine-tuning broker's own file, as an operator would write it
    (provider/tuning/options.py)."""
    usage = tree.data / f"provider-{TUNER}" / f"{MODEL_NAME}.zip"
    usage.parent.mkdir()
    with zipfile.ZipFile(usage, "w") as archive:
        archive.write(ROOT / "provider" / "smallmodel" / "USAGE.md", "USAGE.md")
    model = {
        "name": MODEL_NAME,
        "hash": model_hash(),
        "description": "A tiny model, trained on this project's documentation",
        "tokenizer": f"{MODEL_NAME}/tokenizer.json",
        "training_script": "python -m provider.smallmodel",
        "executor": [sys.executable, "-m", "provider.smallmodel"],
        "storage_fee": str(RESULT_FEE),
        "usage_file": usage.name,
    }
    return {
        "wallet_key": "0x" + bytes(accounts.provider(TUNER).key).hex(),
        "state": "state",
        "listen": {"host": "127.0.0.1", "port": free_port()},
        "chain": {
            "rpc": rpc,
            "chain_id": deployment.chain_id,
            "fine_tuning": deployment.fine_tuning,
        },
        "tee": {
            "key": "0x" + bytes(accounts.signer(TUNER).key).hex(),
            "machine": {"seed_file": f"../{SEED}"},
        },
        "tuning": {
            "price_per_token": str(TUNING_PRICE),
            "quota": {"cpu_count": 1, "memory_gb": 1, "storage_gb": 1},
            "poll_seconds": 2,
            "storage": {"indexer": indexer},
            "models": [model],
        },
    }


def seed_tuning(tree: Tree) -> None:
    """One model fine-tuned for a user of the seeded history; the demo works already meanwhile."""
    child = tree.python("seed-tuning", "manage.py", "seed_demo", "--tuning")
    tree.wait(child)  # it loses patience by itself
    tree.say(f"fine-tuning failed:\n{child.tail(5)}" if child.code else "a first model fine-tuned")


def attestation_environment(tree: Tree, url: str) -> None:
    """The site believes this demo's own roots, and asks the fleet instead of the vendors."""
    tree.env.update(
        attestation.environment(url), ATTESTATION_ANCHORS=str(tree.data / "anchors.json")
    )


def broker_config(
    number: int, offer: Offer, upstream: int, network: dict[str, object]
) -> dict[str, object]:
    """The broker's own file, as an operator would write it (provider/config.py)."""
    machine: dict[str, object] = {"seed_file": f"../{SEED}", **offer.machine}
    declared: dict[str, object] = {}
    if offer.separated:
        model = accounts.model_signer(number)
        machine["model_key"] = "0x" + bytes(model.key).hex()
        declared = {"TargetSeparated": True, "TargetTeeAddress": model.address}
    return {
        "wallet_key": "0x" + bytes(accounts.provider(number).key).hex(),
        "state": "state",
        "listen": {"host": "127.0.0.1", "port": free_port()},
        "service": {
            "type": offer.type,
            "model": offer.model,
            "input_price": offer.input_price,
            "output_price": offer.output_price,
            "additional_info": declared,
            "takes_pictures": offer.pictures,
        },
        "upstream": {"url": f"http://127.0.0.1:{upstream}/v1"},
        "chain": network,
        "tee": {
            "backend": offer.backend,
            "key": "0x" + bytes(accounts.signer(number).key).hex(),
            "machine": machine,
        },
        # A demo should show settlements within a minute.
        "settlement": {"interval_seconds": 20, "at_shutdown": False},
        # What is not settled yet is then seen on the operator's pages.
        "share_unsettled": True,
    }


def behind_a_door(config: dict[str, object]) -> str:
    """Offer the broker at a door of its own (`devnet.outages`); returns the fleet's option."""
    port, door = free_port(), free_port()
    config["listen"] = {"host": "127.0.0.1", "port": port}
    service = config["service"]
    assert isinstance(service, dict)
    service["url"] = f"http://127.0.0.1:{door}"
    return f"{door}:{port}:{OUTAGE_SECONDS}"


def said(log: Path, words: str) -> bool:
    return log.exists() and words in log.read_text(errors="replace")


def memory_mib() -> int:
    """Proportional memory of the whole tree, this process included, in MiB."""
    total = 0
    own = psutil.Process()
    for process in (own, *own.children(recursive=True)):
        try:
            total += process.memory_full_info().pss
        except psutil.Error:
            continue
    return int(total // 2**20)


def greet(tree: Tree, chain: Anvil, site: str) -> None:
    print(f"\nAccounts, {accounts.describe()}\n", flush=True)
    print(f"Chain     {chain.url} (chain id {chain.chain_id})")
    print(f"Logs      {tree.shown(tree.data)}/logs")
    seconds = time.time() - tree.started
    print(f"Started   in {seconds:.1f} s, {memory_mib()} MiB in the whole tree")
    print("Stop      with Ctrl-C\n")
    print(f"READY {site}", flush=True)
