"""What is checked: the common parts of both kinds of broker."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from protocol.abi import FINE_TUNING_SERVING, INFERENCE_SERVING
from provider import tee
from provider.config import Config, TeeChoice
from provider.config import load as load_config
from provider.operating import LogChoice
from provider.register import listing
from provider.section import SecretPlace
from provider.server import url_of
from provider.tuning import options as tuning
from provider.tuning.chain import listing as tuning_listing

#: A change of these withdraws the owner's acknowledgement (contracts.md 6.6).
RESETS = ("serviceType", "model", "verifiability", "additionalInfo", "teeSignerAddress")


@dataclass(frozen=True)
class Subject:
    """`url` "" where clients reach the broker at its listen address; `stake` in neuron."""

    path: Path
    kind: str
    contract: str
    rpc: str
    chain_id: int | None
    wallet_key: bytes
    provider: str
    url: str
    host: str
    port: int
    state: Path
    stake: int
    tee: TeeChoice
    secrets: tuple[SecretPlace, ...]
    log: LogChoice
    resets: tuple[str, ...]
    options: Config | tuning.Options

    @property
    def public_url(self) -> str:
        """Where clients reach the broker, "" while that is not known."""
        if self.url or not self.port:
            return self.url
        return url_of(self.host, self.port)

    @property
    def signer(self) -> str:
        """The signer's address, "" before the first start. Raises ConfigError."""
        return tee.signer_so_far(self.tee, self.state)

    def wanted(self, signer: str) -> dict[str, Any]:
        """What the chain should say."""
        if isinstance(self.options, Config):
            return listing(self.options.service, url=self.public_url, signer=signer)
        return tuning_listing(self.options, url=self.public_url, signer=signer)


def load(path: Path) -> Subject:
    """Read either kind of file. Raises ConfigError."""
    options: Config | tuning.Options
    resets: tuple[str, ...]
    if tuning.is_tuning(path):
        options = tuning.load(path)
        kind, contract, rpc = FINE_TUNING_SERVING, options.fine_tuning, options.rpc
        chain_id, url, stake = options.chain_id, options.url, options.stake
        resets = RESETS[-1:]
    else:
        options = load_config(path)
        kind, contract, rpc = INFERENCE_SERVING, options.network.inference, options.network.rpc
        chain_id, url, stake = options.network.chain_id, options.service.url, options.service.stake
        resets = RESETS
    return Subject(
        path=path,
        kind=kind,
        contract=contract,
        rpc=rpc,
        chain_id=chain_id,
        wallet_key=options.wallet_key,
        provider=options.provider,
        url=url or "",
        host=options.host,
        port=options.port,
        state=options.state,
        stake=stake,
        tee=options.tee,
        secrets=options.secrets,
        log=options.log,
        resets=resets,
        options=options,
    )
