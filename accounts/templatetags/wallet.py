"""`{% wallet as w %}`: what the wallet button and its scripts need to know, and nothing secret."""

from __future__ import annotations

from dataclasses import dataclass

import orjson
from django import template
from django.conf import settings
from django.template import Context

from accounts import roles, selectors
from accounts.addresses import short
from accounts.models import User
from ledger import selectors as ledger
from protocol.networks import Network

register = template.Library()
_METAMASK = "https://metamask.app.link/dapp/"


@dataclass(frozen=True)
class WalletButton:
    """`address` is the session's wallet or empty; `chain` is JSON for `wallet_addEthereumChain`
    (EIP-3085); `mobile` opens this page in a phone's wallet, empty where no phone can reach us;
    `waiting`: transactions sent that no block holds yet. `operator`: ever offered a service;
    `staff`: holds some role of the site; `host`: one that opens `/ops`.
    """

    address: str
    short: str
    chain_name: str
    chain: str
    next: str
    mobile: str
    waiting: int
    operator: bool
    staff: bool
    host: bool


def chain_name(network: Network) -> str:
    """What a wallet lists the chain as: among others there, a network without a name is its id."""
    return f"Chain {network.chain_id}" if network.name == "custom" else network.label


def chain_parameters(network: Network, devnet_rpc_urls: tuple[str, ...]) -> dict[str, object]:
    """EIP-3085 parameters from public facts only: the operator's own RPC URLs may hold keys and are
    never shown, except on the devnet, where the wallet needs that very node.
    """
    urls = network.rpc_urls or devnet_rpc_urls
    parameters: dict[str, object] = {
        "chainId": hex(network.chain_id),
        "chainName": chain_name(network),
        "nativeCurrency": {"name": "0G", "symbol": "0G", "decimals": 18},
        "rpcUrls": list(urls),
    }
    if network.explorer_url:
        parameters["blockExplorerUrls"] = [network.explorer_url]
    return parameters


def mobile_link(site: str, path: str) -> str:
    """MetaMask's link that opens a page of ours in its own browser: a plain link, followed only by
    whoever taps it. Such links take https sites only.
    """
    return (
        f"{_METAMASK}{site.removeprefix('https://')}{path}" if site.startswith("https://") else ""
    )


@register.simple_tag(takes_context=True)
def wallet(context: Context) -> WalletButton:
    request = context.get("request")
    user = getattr(request, "user", None)
    address = user.get_username() if user is not None and user.is_authenticated else ""
    urls = tuple(settings.CHAIN_RPC_URLS) if settings.IS_DEVNET else ()
    # Asked once per request already, and remembered with the user (`accounts.roles`).
    held = roles.of(user) if user is not None else roles.NOBODY
    return WalletButton(
        address=address,
        short=short(address),
        chain_name=chain_name(settings.NETWORK),
        chain=orjson.dumps(chain_parameters(settings.NETWORK, urls)).decode(),
        next=request.path if request is not None else "/",
        mobile=mobile_link(str(settings.SITE_URL), request.path if request is not None else "/"),
        waiting=selectors.waiting(user) if isinstance(user, User) else 0,
        operator=bool(address) and ledger.offers(address),
        staff=bool(held),
        host=not held.isdisjoint(roles.STAFF),
    )
