// Where somebody is signed in: the banners when the wallet shows another account or chain than the session's.
import { chainName } from './chain-names.js';
import { dialog } from './wallet.js';
import { ensureChain } from './wallet-chain.js';
import { account, config, declined, forget, mismatch, strayed, walletName } from './wallet-provider.js';
import { t } from './words.js';

const root = document.getElementById('wallet');
const banner = document.getElementById('wallet-banner');
const chainBanner = document.getElementById('chain-banner');
const brief = (address) => `${address.slice(0, 6)}…${address.slice(-4)}`;

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
  if (now) root.querySelector('[data-wallet-fact]').textContent = t('Connected: {wallet} shows {account}.', { wallet: walletName(), account: brief(now) });
  const chain = strayed();
  chainBanner.hidden = !chain;
  if (chain) chainBanner.querySelector('[data-chain-text]').textContent = t('Your wallet is on {chain}. Reading works; to pay, switch.', { chain: chainName(chain) });
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
// Whoever signs out leaves nothing half-written in this tab (draft.js).
root.querySelector('[data-sign-out]').addEventListener('submit', () => {
  forget();
  try {
    for (const key of Object.keys(sessionStorage)) if (key.startsWith('draft:')) sessionStorage.removeItem(key);
  } catch { /* no storage in this browser */ }
});
addEventListener('wallet:changed', show);
show(); // a wallet may have spoken before this script came
