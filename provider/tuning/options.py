"""The fine-tuning broker's file: one YAML document, checked whole before anything starts.

Prices, fees and stakes are neuron, times are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from protocol.digests import address_of_key
from protocol.tuning import MODEL_HASHES, is_hash
from provider.config import TeeChoice, tee_choice
from provider.operating import LogChoice, log_choice
from provider.section import Notes, SecretPlace, Section
from provider.yaml_file import read

MAX_MODELS = 50
MAX_NAME_CHARS = 100


@dataclass(frozen=True)
class Model:
    """A base model that can be tuned; `command` starts its executor (provider/tuning/executor.py).

    `storage_fee` in neuron is added to the price of tokens; `usage_file` is a zip that explains it.
    """

    name: str
    hash: str
    description: str
    tokenizer: str
    data_type: str
    image: str
    training_script: str
    command: tuple[str, ...]
    coefficient: int
    storage_fee: int
    usage_file: Path | None

    @property
    def customised(self) -> bool:
        """One of our own, which clients look up by name (6.2)."""
        return self.name not in MODEL_HASHES

    def document(self, provider: str) -> dict[str, object]:
        """As `GET /v1/model` lists it (6.1)."""
        return {
            "name": self.name,
            "hash": self.hash,
            "image": self.image,
            "dataType": self.data_type,
            "trainingScript": self.training_script,
            "description": self.description,
            "tokenizer": self.tokenizer,
            "usageFile": self.usage_file.name if self.usage_file else "",
            "provider": provider,
        }


@dataclass(frozen=True)
class Quota:
    """The machine, as listed on chain."""

    cpu_count: int
    memory_gb: int
    gpu_count: int
    storage_gb: int
    gpu_type: str


@dataclass(frozen=True)
class StorageChoice:
    """0G storage through an indexer's gateway; no announcement may cost more than `max_fee`."""

    indexer: str
    max_fee: int


@dataclass(frozen=True)
class Handover:
    """The inference broker that serves tuned models, and the secret it knows us by."""

    url: str
    secret: str


@dataclass(frozen=True)
class Options:
    """Everything the fine-tuning broker needs to know."""

    url: str | None
    price_per_token: int
    stake: int
    quota: Quota
    models: tuple[Model, ...]
    storage: StorageChoice | None
    handover: Handover | None
    queue: int
    poll_seconds: float
    acknowledge_seconds: float
    train_seconds: float
    keep_seconds: float
    rpc: str
    chain_id: int | None
    fine_tuning: str
    tee: TeeChoice
    log: LogChoice
    secrets: tuple[SecretPlace, ...]
    wallet_key: bytes
    host: str
    port: int
    state: Path

    @property
    def provider(self) -> str:
        """The provider's EIP-55 address."""
        return address_of_key(self.wallet_key)

    def model(self, name_or_hash: str) -> Model | None:
        """A model by its name or hash."""
        for model in self.models:
            if name_or_hash in (model.name, model.hash):
                return model
        return None


def is_tuning(path: Path) -> bool:
    """Whether the file at `path` describes a fine-tuning broker; False also for unreadable ones."""
    try:
        document = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError, ValueError, RecursionError):
        return False
    return isinstance(document, dict) and "tuning" in document


def load(path: Path) -> Options:
    """Read and check a file. Raises ConfigError with one line that says where and what to fix."""
    return read(path, parse)


def parse(document: object, folder: Path, notes: Notes | None = None) -> Options:
    """Check a decoded document; relative paths in it start at `folder`. What was asked for is
    written into `notes`. Raises ConfigError."""
    root = Section("", document, folder, notes)
    wallet_key = root.needed_private_key("wallet_key")
    tuning = root.section("tuning", required=True)
    chain = root.section("chain", required=True)
    listen = root.section("listen")
    options = Options(
        url=tuning.optional_url("url"),
        price_per_token=tuning.neuron("price_per_token"),
        stake=tuning.neuron("stake", 100 * 10**18),
        quota=_quota(tuning.section("quota")),
        models=_models(tuning),
        storage=_storage(tuning.section("storage")) if tuning.has("storage") else None,
        handover=_handover(tuning.section("handover")) if tuning.has("handover") else None,
        queue=tuning.integer("queue", 5),
        poll_seconds=tuning.seconds("poll_seconds", 60),
        acknowledge_seconds=tuning.seconds("acknowledge_seconds", 6 * 3600),
        train_seconds=tuning.seconds("train_seconds", 3600),
        keep_seconds=tuning.seconds("keep_seconds", 7 * 86_400),
        rpc=chain.url("rpc"),
        chain_id=chain.optional_integer("chain_id"),
        fine_tuning=chain.address("fine_tuning"),
        tee=tee_choice(root.section("tee")),
        log=log_choice(root.section("log")),
        secrets=tuple(root.notes.secrets),
        wallet_key=wallet_key,
        host=listen.text("host", "127.0.0.1"),
        port=listen.integer("port", 0),
        state=folder / root.text("state", None, "path"),
    )
    for section in (tuning, chain, listen, root):
        section.done()
    return options


def _quota(section: Section) -> Quota:
    quota = Quota(
        cpu_count=section.integer("cpu_count", 1),
        memory_gb=section.integer("memory_gb", 1),
        gpu_count=section.integer("gpu_count", 0),
        storage_gb=section.integer("storage_gb", 1),
        gpu_type=section.text("gpu_type", ""),
    )
    section.done()
    return quota


def _storage(section: Section) -> StorageChoice:
    choice = StorageChoice(section.url("indexer"), section.neuron("max_fee", 10**17))
    section.done()
    return choice


def _handover(section: Section) -> Handover:
    choice = Handover(section.url("url"), section.needed_secret("secret"))
    section.done()
    return choice


def _models(tuning: Section) -> tuple[Model, ...]:
    found = tuning.take("models", [])
    if not isinstance(found, list) or not 0 < len(found) <= MAX_MODELS:
        raise tuning.fail("models", f"expected a list of 1 to {MAX_MODELS} models")
    models = [
        _model(Section(f"tuning.models[{number}]", raw, tuning.folder, tuning.notes))
        for number, raw in enumerate(found)
    ]
    for names in ([m.name for m in models], [m.hash for m in models]):
        if len(set(names)) != len(names):
            raise tuning.fail("models", "two have the same name or hash")
    return tuple(models)


def _model(section: Section) -> Model:
    name = section.text("name")
    if len(name) > MAX_NAME_CHARS:
        raise section.fail("name", f"longer than {MAX_NAME_CHARS} characters")
    hash_ = section.text("hash", MODEL_HASHES.get(name, ""))
    if not is_hash(hash_):
        raise section.fail("hash", "expected 0x and 64 lower-case hex digits")
    usage = section.text("usage_file", "", "path")
    model = Model(
        name=name,
        hash=hash_,
        description=section.text("description", ""),
        tokenizer=section.text("tokenizer", ""),
        data_type=section.text("data_type", "text"),
        image=section.text("image", ""),
        training_script=section.text("training_script", ""),
        command=_command(section),
        coefficient=section.integer("coefficient", 1),
        storage_fee=section.neuron("storage_fee", 0),
        usage_file=section.folder / usage if usage else None,
    )
    if model.usage_file and not model.usage_file.is_file():
        raise section.fail("usage_file", "there is no such file")
    section.done()
    return model


def _command(section: Section) -> tuple[str, ...]:
    section.note("executor", "list of texts", None)
    command = section.take("executor")
    if not isinstance(command, list) or not command:
        raise section.fail("executor", "expected a list: the program and its arguments")
    if not all(isinstance(word, str) and word for word in command):
        raise section.fail("executor", "expected texts")
    return tuple(command)
