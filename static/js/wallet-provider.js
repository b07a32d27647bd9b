// The wallets of this browser (EIP-6963) and the one in use. Nothing is asked of a wallet until the person acts; only the
// one that somebody is signed in with is read, without a prompt.
import { t } from './words.js';
const element = document.getElementById('wallet');
const chain = JSON.parse(element.dataset.chain);
export const config = { session: element.dataset.session, chain, chainId: Number(chain.chainId) };
const [REMEMBERED, USED] = ['wallet', 'wallets'];
const MOST = 10;
const PENDING = -32002;
const wallets = new Map();
const followed = new WeakSet();
const state = { wallet: null, account: '', chain: 0 };
let prompts = Promise.resolve();

// What this browser remembers between pages. A storage that is full or blocked remembers nothing and stops nobody.
export function recall(key) {
  let kept = null;
  try {
    kept = localStorage.getItem(key);
    return JSON.parse(kept);
  } catch { return kept; } // as it stands: the wallet's id was kept bare once
}
export function remember(key, value) {
  try {
    if (value === null) localStorage.removeItem(key);
    else localStorage.setItem(key, JSON.stringify(value));
  } catch { /* no storage in this browser */ }
}
// Names of wallets, the last used first; they outlive a session, unlike the one in use.
const used = () => [recall(USED) ?? []].flat().map(String);

export const same = (a, b) => (a || '').toLowerCase() === (b || '').toLowerCase();
export const account = () => state.account;
export const walletName = () => state.wallet?.name ?? t('your wallet');
export const declined = (error) => error?.code === 4001 || error?.code === 'ACTION_REJECTED';
const stillOpen = () => Object.assign(
  new Error(t('{wallet} already has a request of this page open. Open it from the browser’s toolbar and answer there.', { wallet: walletName() })),
  { code: PENDING },
);

// True when the wallet shows another account than the one that signed in: nothing may be sent then.
export const mismatch = () => Boolean(config.session && state.account && !same(state.account, config.session));

// The chain that the wallet was seen on, where it is not ours: reading goes on, paying needs a switch. 0: ours, or not known.
export const strayed = () => (config.session && state.chain !== config.chainId ? state.chain : 0);

const changed = () => dispatchEvent(new CustomEvent('wallet:changed'));

function announce({ info, provider }) {
  const id = String(info?.rdns || info?.uuid || '');
  if (!id || typeof provider?.request !== 'function' || wallets.has(id)) return;
  const icon = String(info.icon || '');
  const wallet = { id, provider, name: String(info.name || 'Wallet').slice(0, 40), icon: icon.startsWith('data:image/') ? icon : '' };
  wallets.set(id, wallet);
  if (id === recall(REMEMBERED)) {
    use(wallet);
    if (config.session) look(wallet);
  }
  dispatchEvent(new CustomEvent('wallet:found', { detail: wallet }));
}

// Make `wallet` the one in use and follow its account and chain.
function use(wallet) {
  if (state.wallet === wallet) return;
  Object.assign(state, { wallet, account: '', chain: 0 });
  if (followed.has(wallet)) return;
  followed.add(wallet);
  // Of several wallets the one in use is believed.
  const hear = (name, listener) => wallet.provider.on?.(name, (value) => { if (state.wallet === wallet) listener(value); });
  const shows = (accounts) => {
    state.account = String(accounts?.[0] ?? '');
    changed();
  };
  hear('accountsChanged', shows);
  hear('chainChanged', (chain) => on(Number(chain)));
  hear('disconnect', () => shows([]));
}

// The account may have been changed while none of our pages was there to hear of it.
async function look(wallet) {
  let accounts = [];
  try { accounts = await wallet.provider.request({ method: 'eth_accounts' }); } catch { return; }
  if (state.wallet !== wallet || state.account || !accounts?.length) return;
  state.account = String(accounts[0]);
  changed();
}

export function discover() {
  addEventListener('eip6963:announceProvider', (event) => announce(event.detail ?? {}));
  dispatchEvent(new Event('eip6963:requestProvider'));
}

// Wallets found so far, the last used first; one that only injects `window.ethereum` is offered when none announced itself.
export function found() {
  if (!wallets.size && window.ethereum) announce({ info: { rdns: 'injected', name: t('Browser wallet') }, provider: window.ethereum });
  const order = used();
  const place = ({ id }) => (order.includes(id) ? order.indexOf(id) : MOST);
  return [...wallets.values()].sort((a, b) => place(a) - place(b));
}

export const read = (method, params = []) => state.wallet.provider.request({ method, params });

// One prompt at a time: a second one waits until the person has answered the first; `before` looks once more when its turn
// has come, since wallets change while it waits.
export function prompt(method, params = [], before = undefined) {
  const next = prompts.then(before).then(() => read(method, params)).catch((error) => { throw error?.code === PENDING ? stillOpen() : error; });
  prompts = next.catch(() => {});
  return next;
}

// The person says that nothing is open in the wallet: one that never answers must not be waited for.
export function unanswered() { prompts = Promise.resolve(); }

export async function connect(wallet) {
  use(wallet);
  // One that shows its accounts already need not be asked to, and may have another request open.
  const shown = await read('eth_accounts').catch(() => []);
  const accounts = shown?.length ? shown : await prompt('eth_requestAccounts');
  state.account = String(accounts?.[0] ?? '');
  if (!/^0x[0-9a-fA-F]{40}$/.test(state.account)) throw new Error(t('The wallet shares no account with this page.'));
  remember(REMEMBERED, wallet.id);
  remember(USED, [wallet.id, ...used().filter((id) => id !== wallet.id)].slice(0, MOST));
  changed();
  return state.account;
}

// The remembered wallet, or the only one there is; null when the person must choose.
export const usual = () => state.wallet ?? (found().length === 1 ? found()[0] : null);
export function forget() { remember(REMEMBERED, null); Object.assign(state, { wallet: null, account: '', chain: 0 }); }

function on(chain) {
  if (chain === state.chain) return;
  state.chain = chain;
  changed();
}
export async function chainNow() {
  on(Number(await read('eth_chainId')));
  return state.chain;
}
