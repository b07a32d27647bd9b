"""The operator's file: one YAML document, checked whole before anything starts.

Prices and stakes are neuron, times are seconds. Secrets may stand in the file, in another file
(`…_file`) or in the environment (`…_env`). docs/broker.md lists every setting.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from protocol.digests import address_of_key
from protocol.fees import EMBEDDING, DurationRule
from provider.operating import AdminChoice, LogChoice, admin_choice, log_choice
from provider.section import Notes, SecretPlace, Section
from provider.yaml_file import read

MAX_INFO_BYTES = 4096
CHAT, IMAGES, EDITING, SPEECH = "chatbot", "text-to-image", "image-editing", "speech-to-text"
SERVICE_TYPES = (CHAT, IMAGES, EDITING, SPEECH, EMBEDDING)

SPEECH_RULES: tuple[DurationRule, ...] = ("sdk", "broker")
TCB_WORDS = ("UpToDate", "OutOfDate")
LAYOUTS = ("legacy", "v1")
MAX_GPUS = 8


@dataclass(frozen=True)
class Service:
    """What is registered on chain; `url` None means the address the broker listens on.

    `speech_rule` says how seconds of speech are charged (provider-protocol.md 5.1),
    `takes_pictures` that a chat model looks at pictures, as its list of models then declares.
    """

    type: str
    model: str
    url: str | None
    verifiability: str
    input_price: int
    output_price: int
    stake: int
    additional_info: str
    speech_rule: DurationRule
    takes_pictures: bool


@dataclass(frozen=True)
class Upstream:
    """The OpenAI-compatible server behind the broker; `url` ends where `/chat/completions` begins.

    `model` is what it calls the model, "" where it knows the service's own name.
    """

    url: str
    key: str
    model: str
    connect_seconds: float
    first_byte_seconds: float
    idle_seconds: float
    total_seconds: float

    @property
    def authorization(self) -> dict[str, str]:
        """The header with our key; none where the server wants no key."""
        return {"authorization": f"Bearer {self.key}"} if self.key else {}


@dataclass(frozen=True)
class Network:
    """The chain: one node, and the InferenceServing proxy."""

    rpc: str
    chain_id: int | None
    inference: str
    cache_seconds: float


@dataclass(frozen=True)
class MachineChoice:
    """The machine that development evidence describes, and whose roots vouch for it.

    `seed_file` None means roots of this broker's own. `tcb` is one of TCB_WORDS, `layout` of
    report_data one of LAYOUTS; `gpus` may be 0. With a `model_key` the model runs in a TD of its
    own, which has the GPUs and signs the answers; `additional_info` has to say so (TargetSeparated,
    TargetTeeAddress).
    """

    seed_file: Path | None = None
    model_key: bytes | None = None
    gpus: int = 1
    tcb: str = "UpToDate"
    debug: bool = False
    layout: str = "legacy"


@dataclass(frozen=True)
class TeeChoice:
    """Which evidence backend signs; `key` None means one generated into the state folder."""

    backend: str
    key: bytes | None
    machine: MachineChoice


@dataclass(frozen=True)
class Limits:
    """How much one user and all users together may ask at once."""

    requests_per_minute: int
    concurrency: int
    concurrency_per_user: int


@dataclass(frozen=True)
class Settlement:
    """When collected fees go on chain; amounts in neuron.

    The timer leaves a user's debts below `minimum` alone; `low_balance` is the margin that triggers
    a settlement early. Gas prices (neuron per gas, 0: any) above `max_gas_price` are waited out, or
    above `urgent_gas_price` while money is at risk. What happened counts as final after
    `confirmations` blocks. `watch_seconds` is how often debtors' balances are looked at.
    """

    interval_seconds: float
    minimum: int
    low_balance: int
    at_shutdown: bool
    max_gas_price: int
    urgent_gas_price: int
    confirmations: int
    watch_seconds: float

    def gas_limit(self, *, urgent: bool) -> int | None:
        """The highest gas price to pay, None for any."""
        cap = max(self.max_gas_price, self.urgent_gas_price) if urgent else self.max_gas_price
        return cap if self.max_gas_price else None


@dataclass(frozen=True)
class Jobs:
    """Images made in the background; no `workers` means that jobs are not offered.

    Results, and pictures behind URLs, are kept for `keep_seconds`.
    """

    workers: int
    queue: int
    keep_seconds: float


@dataclass(frozen=True)
class Adapters:
    """Tuned models: the secret shared with the fine-tuning broker, and the gateway of 0G storage
    they come from."""

    secret: str
    indexer: str


@dataclass(frozen=True)
class Config:
    """Everything the broker needs to know."""

    service: Service
    upstream: Upstream
    network: Network
    tee: TeeChoice
    limits: Limits
    settlement: Settlement
    jobs: Jobs
    adapters: Adapters | None
    admin: AdminChoice | None
    log: LogChoice
    share_unsettled: bool
    secrets: tuple[SecretPlace, ...]
    wallet_key: bytes
    host: str
    port: int
    state: Path

    @property
    def provider(self) -> str:
        """The provider's EIP-55 address."""
        return address_of_key(self.wallet_key)


def load(path: Path) -> Config:
    """Read and check a configuration file. Raises ConfigError with one line that says where and
    what to fix."""
    return read(path, parse)


def parse(document: object, folder: Path, notes: Notes | None = None) -> Config:
    """Check a decoded document; relative paths in it start at `folder`. What was asked for is
    written into `notes`. Raises ConfigError."""
    root = Section("", document, folder, notes)
    wallet_key = root.needed_private_key("wallet_key")
    listen = root.section("listen")
    config = Config(
        service=_service(root.section("service", required=True)),
        upstream=_upstream(root.section("upstream", required=True)),
        network=_network(root.section("chain", required=True)),
        tee=tee_choice(root.section("tee")),
        limits=_limits(root.section("limits")),
        settlement=_settlement(root.section("settlement")),
        jobs=_jobs(root.section("jobs")),
        adapters=_adapters(root.section("adapters")) if root.has("adapters") else None,
        admin=admin_choice(root.section("admin")) if root.has("admin") else None,
        log=log_choice(root.section("log")),
        share_unsettled=root.flag("share_unsettled", False),
        secrets=tuple(root.notes.secrets),
        wallet_key=wallet_key,
        host=listen.text("host", "127.0.0.1"),
        port=listen.integer("port", 0),
        state=folder / root.text("state", None, "path"),
    )
    listen.done()
    root.done()
    return config


def _service(section: Section) -> Service:
    service = Service(
        type=section.choice("type", SERVICE_TYPES),
        model=section.text("model"),
        url=section.optional_url("url"),
        verifiability=section.text("verifiability", "TeeML"),
        input_price=section.neuron("input_price"),
        output_price=section.neuron("output_price"),
        stake=section.neuron("stake", 100 * 10**18),
        additional_info=_additional_info(section),
        speech_rule=section.choice("speech_rule", SPEECH_RULES),
        takes_pictures=section.flag("takes_pictures", False),
    )
    section.done()
    _check_prices(section, service)
    return service


def _check_prices(section: Section, service: Service) -> None:
    """A service may be free, but not by giving the price that nobody is charged."""
    charged = "output_price"
    by_sdk = service.type == SPEECH and service.speech_rule == "sdk"
    if by_sdk or service.type == EMBEDDING:
        charged = "input_price"
    zero = not getattr(service, charged)
    if service.type != CHAT and zero and service.input_price + service.output_price:
        raise section.fail(charged, f"{service.type} is charged by this price, it cannot be zero")


def _additional_info(section: Section) -> str:
    """The JSON of provider-protocol.md 3.4, always the same bytes for the same file: a change
    would withdraw the owner's acknowledgement (contracts.md 6.6)."""
    section.note("additional_info", "mapping", "{}")
    extra = section.take("additional_info", {})
    if not isinstance(extra, Mapping):
        raise section.fail("additional_info", "expected a mapping")
    info = {
        "ProviderType": "decentralized",
        "TEEVerifier": "dstack",
        "TargetSeparated": False,
        "VerifierURL": "",
        **extra,
    }
    try:
        text = json.dumps(info, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise section.fail("additional_info", "holds something that JSON cannot") from error
    if len(text.encode()) > MAX_INFO_BYTES:
        raise section.fail("additional_info", f"longer than {MAX_INFO_BYTES} bytes of JSON")
    return text


def _upstream(section: Section) -> Upstream:
    upstream = Upstream(
        url=section.url("url"),
        key=section.secret("key"),
        model=section.text("model", ""),
        connect_seconds=section.seconds("connect_seconds", 5),
        first_byte_seconds=section.seconds("first_byte_seconds", 120),
        idle_seconds=section.seconds("idle_seconds", 60),
        total_seconds=section.seconds("total_seconds", 900),
    )
    section.done()
    return upstream


def _network(section: Section) -> Network:
    network = Network(
        rpc=section.url("rpc"),
        chain_id=section.optional_integer("chain_id"),
        inference=section.address("inference"),
        cache_seconds=section.seconds("cache_seconds", 15),
    )
    section.done()
    return network


def tee_choice(section: Section) -> TeeChoice:
    """The section `tee`, which both kinds of broker have. Raises ConfigError."""
    choice = TeeChoice(
        backend=section.text("backend", "dev"),
        key=section.private_key("key"),
        machine=_machine(section.section("machine")),
    )
    section.done()
    return choice


def _machine(section: Section) -> MachineChoice:
    seed_file = section.text("seed_file", "", "path")
    machine = MachineChoice(
        seed_file=section.folder / seed_file if seed_file else None,
        model_key=section.private_key("model_key"),
        gpus=section.integer("gpus", 1),
        tcb=section.choice("tcb", TCB_WORDS),
        debug=section.flag("debug", False),
        layout=section.choice("layout", LAYOUTS),
    )
    if machine.gpus > MAX_GPUS:
        raise section.fail("gpus", f"expected at most {MAX_GPUS}")
    section.done()
    return machine


def _limits(section: Section) -> Limits:
    limits = Limits(
        requests_per_minute=section.integer("requests_per_minute", 60),
        concurrency=section.integer("concurrency", 20),
        concurrency_per_user=section.integer("concurrency_per_user", 5),
    )
    section.done()
    return limits


def _settlement(section: Section) -> Settlement:
    settlement = Settlement(
        interval_seconds=section.seconds("interval_seconds", 600),
        minimum=section.neuron("minimum", 0),
        low_balance=section.neuron("low_balance", 10**17),
        at_shutdown=section.flag("at_shutdown", False),
        max_gas_price=section.neuron("max_gas_price", 0),
        urgent_gas_price=section.neuron("urgent_gas_price", 0),
        confirmations=section.integer("confirmations", 5),
        watch_seconds=section.seconds("watch_seconds", 60),
    )
    if settlement.urgent_gas_price and not settlement.max_gas_price:
        raise section.fail("urgent_gas_price", "needs max_gas_price, above which it is for")
    section.done()
    return settlement


def _jobs(section: Section) -> Jobs:
    jobs = Jobs(
        workers=section.integer("workers", 2),
        queue=section.integer("queue", 50),
        keep_seconds=section.seconds("keep_seconds", 3600),
    )
    section.done()
    return jobs


def _adapters(section: Section) -> Adapters:
    adapters = Adapters(section.needed_secret("secret"), section.url("indexer"))
    section.done()
    return adapters
