// The wallet button: Connect → Sign in → 0x1234…abcd, and the banner when wallet and session disagree.
import { account, config, declined, discover, ensureChain, forget, mismatch, strayed, walletName } from './wallet-provider.js';
import { warn } from './toast.js';
import { t } from './words.js';

const root = document.getElementById('wallet');
const banner = document.getElementById('wallet-banner');
const chainBanner = document.getElementById('chain-banner');
const button = root.querySelector('[data-wallet-connect]');
const brief = (address) => `${address.slice(0, 6)}…${address.slice(-4)}`;

// The dialog: fetched when somebody wants it, which most who read do not.
const dialog = (act) => import('./wallet-signin.js').then(act, () => warn(t('This page cannot reach the server.')));

// Buttons in the page that do what the one in the header does; also those swapped in later.
function offer() {
  const label = account() ? t('Sign in') : t('Connect');
  for (const other of document.querySelectorAll('[data-connect]')) Object.assign(other, { hidden: !button, textContent: label });
}

// Whoever keeps reading as another account has said so for this tab, whichever page comes next.
const KEPT = 'kept';
function kept(now) {
  try { return sessionStorage.getItem(KEPT) === `${config.session} ${now}`; } catch { return false; }
}
function keep() {
  banner.hidden = true;
  try { sessionStorage.setItem(KEPT, `${config.session} ${account()}`); } catch { /* no storage: asked again */ }
}

function show() {
  const now = account();
  if (button) button.querySelector('[data-wallet-label]').textContent = now ? t('Sign in') : t('Connect');
  offer();
  const fact = root.querySelector('[data-wallet-fact]');
  if (fact && now) fact.textContent = t('Connected: {wallet} shows {account}.', { wallet: walletName(), account: brief(now) });
  const chain = strayed();
  chainBanner.hidden = !chain;
  if (chain) chainBanner.querySelector('[data-chain-text]').textContent = t('Your wallet is on chain {chain}. Reading works; to pay, switch.', { chain });
  banner.hidden = !mismatch() || kept(now);
  if (banner.hidden) return;
  banner.querySelector('[data-wallet-mismatch]').textContent = t('You are signed in as {session}, your wallet shows {now}.', { session: brief(config.session), now: brief(now) });
  banner.querySelector('[data-wallet-sign-other]').textContent = t('Sign in as {now}', { now: brief(now) });
  banner.querySelector('[data-wallet-keep]').textContent = t('Keep {session}, read only', { session: brief(config.session) });
}

// The banners belong above the page, not into the header where their markup lies.
document.querySelector('main')?.before(chainBanner, banner);
chainBanner.querySelector('[data-chain-switch]').addEventListener('click', () => ensureChain().catch((error) => {
  chainBanner.querySelector('[data-chain-text]').textContent = declined(error) ? t('You stayed on the other chain.') : error.message;
}));
chainBanner.querySelector('[data-chain-keep]').addEventListener('click', () => { chainBanner.hidden = true; });
banner.querySelector('[data-wallet-sign-other]').addEventListener('click', () => dialog(({ openSignIn }) => openSignIn()));
banner.querySelector('[data-wallet-keep]').addEventListener('click', keep);
document.addEventListener('click', (event) => {
  if (event.target.closest('[data-wallet-connect], [data-connect]')) dialog(({ openSignIn, openChooser }) => (account() ? openSignIn : openChooser)());
});
document.addEventListener('htmx:afterSettle', offer);
root.querySelector('[data-sign-out]')?.addEventListener('submit', forget);
// What was asked for needs a fresh signature, and follows once there is one: the form that was sent, with what was typed, a
// part of this page, the page that the button names, or the same once more.
const swap = (part, path) => {
  document.getElementById('wallet-dialog').close();
  window.htmx.ajax('GET', path, { target: `#${part}`, select: `#${part}`, swap: 'outerHTML' });
};
for (const again of document.querySelectorAll('[data-step-up]')) {
  const { form, dataset: { stepUp: path, part } } = again;
  const then = part ? () => swap(part, path) : form ? () => form.submit() : path ? () => location.assign(path) : undefined;
  again.hidden = false;
  again.addEventListener('click', () => dialog(({ sessionWallet, openSignIn }) => sessionWallet().then(() => openSignIn(then))).catch((error) => {
    document.querySelector('[data-step-up-message]').textContent = error.code === 4001 ? t('You declined.') : error.message;
  }));
}
addEventListener('wallet:changed', show);
offer();
discover();
