"""A wallet for tests: an EIP-1193 provider announced by EIP-6963; its keys and will live here.

The page never sees a key. Reads go from here to the node, so the page's CSP needs no RPC origin.
What the "person" does is set from the test: `reject`, `chain_id`, `signs_as`, `knows`. `on_phone`:
that it does not know a chain is said inside another error, and a new one is there a moment later.
"""

from __future__ import annotations

import json
import uuid
from typing import Any

import requests
from eth_account.messages import encode_defunct
from eth_account.signers.local import LocalAccount
from playwright.sync_api import BrowserContext, Page, expect

INIT = """((cfg) => {
  const slot = '__wallet_' + cfg.slot;
  if (window[slot]) return;
  const listeners = {};
  const provider = {
    async request({ method, params }) {
      const asked = JSON.stringify({ method, params: params || [] });
      const answer = JSON.parse(await window[slot + '_request'](asked));
      for (const [name, value] of answer.emit || []) window[slot](name, value);
      if (answer.error) throw Object.assign(new Error(answer.error.message), answer.error);
      return answer.result;
    },
    on(name, f) { (listeners[name] ||= []).push(f); return this; },
    removeListener(name, f) {
      listeners[name] = (listeners[name] || []).filter((x) => x !== f);
      return this;
    },
  };
  window[slot] = (name, value) => (listeners[name] || []).forEach((f) => f(value));
  const icon = 'data:image/svg+xml,<svg xmlns="http://www.w3.org/2000/svg"/>';
  const info = Object.freeze({ uuid: cfg.uuid, name: cfg.name, rdns: cfg.rdns, icon });
  const announce = () => window.dispatchEvent(
    new CustomEvent('eip6963:announceProvider', { detail: Object.freeze({ info, provider }) }));
  window.addEventListener('eip6963:requestProvider', announce);
  announce();
})(CONFIG);"""


class Refusal(Exception):
    """An EIP-1193 error."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.body = {"code": code, "message": message, "data": data}


class Wallet:
    """One extension with one unlocked account. `calls` are the requests it got, in order."""

    def __init__(
        self,
        account: LocalAccount,
        rpc_url: str,
        *,
        chain_id: int = 31337,
        name: str = "Test Wallet",
        rdns: str = "test.wallet",
        knows: tuple[int, ...] = (1, 31337),
    ) -> None:
        self.account = account
        self.rpc_url = rpc_url
        self.chain_id = chain_id
        self.knows = set(knows)
        self.reject: set[str] = set()
        self.on_phone = False
        self.signs_as: LocalAccount | None = None
        self.calls: list[tuple[str, list[Any]]] = []
        self.connected = False
        self._emit: list[tuple[str, Any]] = []
        self._next = self._reads = 0
        self._config = {"uuid": str(uuid.uuid4()), "name": name, "rdns": rdns}
        self._config["slot"] = rdns.replace(".", "_")
        self.id = rdns
        self._http = requests.Session()
        self._http.trust_env = False

    def install(self, context: BrowserContext) -> Wallet:
        context.expose_function(f"__wallet_{self._config['slot']}_request", self.handle)
        context.add_init_script(INIT.replace("CONFIG", json.dumps(self._config)))
        return self

    def methods(self) -> list[str]:
        return [method for method, _ in self.calls]

    def switch_account(self, page: Page, account: LocalAccount) -> None:
        """The person picks another account in the extension."""
        self.account = account
        page.evaluate(
            "([slot, a]) => window['__wallet_' + slot]('accountsChanged', [a])",
            [self._config["slot"], account.address],
        )

    def lock(self, page: Page) -> None:
        """The person locks the extension, which shows no account from then on."""
        self.connected = False
        page.evaluate(
            "slot => window['__wallet_' + slot]('accountsChanged', [])", self._config["slot"]
        )

    def switch_chain(self, page: Page, chain_id: int) -> None:
        """The person picks another network in the extension."""
        self.chain_id = chain_id
        page.evaluate(
            "([slot, id]) => window['__wallet_' + slot]('chainChanged', id)",
            [self._config["slot"], hex(chain_id)],
        )

    def handle(self, raw: str) -> str:
        request = json.loads(raw)
        method, params = request["method"], request["params"]
        self.calls.append((method, params))
        self._emit = []
        try:
            if method in self.reject:
                raise Refusal(4001, "User rejected the request.")
            answer: dict[str, Any] = {"result": self.dispatch(method, params)}
        except Refusal as refusal:
            answer = {"error": refusal.body}
        return json.dumps({**answer, "emit": self._emit})

    def dispatch(self, method: str, params: list[Any]) -> Any:
        if method == "eth_requestAccounts":
            self.connected = True
            return [self.account.address]
        if method == "eth_accounts":
            return [self.account.address] if self.connected else []
        if method == "eth_chainId":
            shown, self._reads = self.chain_id, self._reads - 1
            if self._reads == 0:
                self.chain_id = self._next
            return hex(shown)
        if method in ("wallet_switchEthereumChain", "wallet_addEthereumChain"):
            return self._chain(method, params[0])
        if not self.connected:
            raise Refusal(4100, "Unauthorized")
        if method == "personal_sign":
            self._own(params[1])
            signer = self.signs_as or self.account
            signed = signer.sign_message(encode_defunct(hexstr=params[0]))
            return "0x" + bytes(signed.signature).hex()
        if method == "eth_sendTransaction":
            return self._send(dict(params[0]))
        if method.startswith("eth_"):
            return self.node(method, params)
        raise Refusal(4200, f"Unsupported method {method}")

    def _chain(self, method: str, wanted: dict[str, Any]) -> None:
        chain = int(wanted["chainId"], 16)
        if method == "wallet_addEthereumChain":
            assert wanted["rpcUrls"] and wanted["nativeCurrency"]["decimals"] == 18
            self.knows.add(chain)
        elif chain not in self.knows:
            inner = {"originalError": {"code": 4902}} if self.on_phone else None
            raise Refusal(-32603 if inner else 4902, "Unrecognized chain ID.", inner)
        if self.on_phone:
            self._next, self._reads = chain, 2
            return
        self.chain_id = chain
        self._emit.append(("chainChanged", hex(chain)))

    def _own(self, address: str) -> None:
        if address.lower() != self.account.address.lower():
            raise Refusal(4100, "Not an account of this wallet.")

    def _send(self, wanted: dict[str, Any]) -> Any:
        self._own(wanted["from"])
        newest = self.node("eth_getBlockByNumber", ["latest", False])
        tip = 10**9
        transaction = {
            "type": 2,
            "chainId": self.chain_id,
            "to": wanted["to"],
            "data": wanted.get("data", "0x"),
            "value": int(wanted.get("value", "0x0"), 16),
            "gas": int(wanted["gas"], 16),
            "nonce": int(
                self.node("eth_getTransactionCount", [self.account.address, "pending"]), 16
            ),
            "maxPriorityFeePerGas": tip,
            "maxFeePerGas": 2 * int(newest["baseFeePerGas"], 16) + tip,
        }
        signed = self.account.sign_transaction(transaction)
        return self.node("eth_sendRawTransaction", ["0x" + bytes(signed.raw_transaction).hex()])

    def node(self, method: str, params: list[Any]) -> Any:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        answer = self._http.post(self.rpc_url, json=body, timeout=30).json()
        if "error" in answer:
            error = answer["error"]
            raise Refusal(error.get("code", -32603), error["message"], error.get("data"))
        return answer["result"]


def sign_in(page: Page, url: str) -> None:
    page.goto(f"{url}/account")
    page.get_by_test_id("connect-wallet").click()
    page.get_by_test_id("wallet-option").first.click()
    page.get_by_test_id("sign-in").click()
    expect(page.get_by_test_id("wallet-address")).to_be_visible()
    page.wait_for_load_state("load")  # the scripts listen to the wallet from here on


def known(page: Page, url: str, wallet: Wallet) -> None:
    """From the next page on, the browser of somebody who has signed in with this wallet a moment
    ago. Signing in has tests of its own (test_wallet.py)."""
    # Here, because scripts.screenshots has the wallet without Django's apps.
    from accounts.models import User
    from tests.browser.session import enter

    enter(page.context, url, User.objects.for_address(wallet.account.address))
    page.context.add_init_script(
        f"if (location.origin === '{url}') localStorage.wallet ??= '\"{wallet.id}\"';"
    )
    wallet.connected = True


def come_back(page: Page, url: str, wallet: Wallet) -> None:
    """The funds page of somebody who is `known`."""
    known(page, url, wallet)
    page.goto(f"{url}/account")


def neuron(page: Page, name: str) -> int:
    return int(page.get_by_test_id(f"balance-{name}").get_attribute("data-neuron") or "-1")


def shows(page: Page, name: str, value: int) -> None:
    """The page comes to show this balance: it fetches its numbers once a transaction is in them."""
    amount = page.get_by_test_id(f"balance-{name}")
    expect(amount).to_have_attribute("data-neuron", str(value))


def to_final(page: Page) -> None:
    page.get_by_test_id("tx-confirm").click()
    state = page.get_by_test_id("tx-state")
    expect(state).to_have_attribute("data-state", "final", timeout=30_000)
