// The wallet button: Connect → Sign in → 0x1234…abcd, and the banner when wallet and session disagree.
import { account, config, discover, forget, mismatch, walletName } from './wallet-provider.js';
import { listWallets, openChooser, openSignIn, sessionWallet } from './wallet-signin.js';
import { t } from './words.js';

const root = document.getElementById('wallet');
const banner = document.getElementById('wallet-banner');
const button = root.querySelector('[data-wallet-connect]');
const brief = (address) => `${address.slice(0, 6)}…${address.slice(-4)}`;

// Buttons in the page that do what the one in the header does; also those swapped in later.
function offer() {
  const label = account() ? t('Sign in') : t('Connect');
  for (const other of document.querySelectorAll('[data-connect]')) Object.assign(other, { hidden: !button, textContent: label });
}

function show() {
  const now = account();
  if (button) button.querySelector('[data-wallet-label]').textContent = now ? t('Sign in') : t('Connect');
  offer();
  const fact = root.querySelector('[data-wallet-fact]');
  if (fact && now) fact.textContent = t('Connected: {wallet} shows {account}.', { wallet: walletName(), account: brief(now) });
  banner.hidden = !mismatch();
  if (banner.hidden) return;
  banner.querySelector('[data-wallet-mismatch]').textContent = t('You are signed in as {session}, your wallet shows {now}.', { session: brief(config.session), now: brief(now) });
  banner.querySelector('[data-wallet-sign-other]').textContent = t('Sign in as {now}', { now: brief(now) });
  banner.querySelector('[data-wallet-keep]').textContent = t('Keep {session}, read only', { session: brief(config.session) });
}

// The banner belongs above the page, not into the header where its markup lies.
document.querySelector('main')?.before(banner);
banner.querySelector('[data-wallet-sign-other]').addEventListener('click', () => openSignIn());
banner.querySelector('[data-wallet-keep]').addEventListener('click', () => { banner.hidden = true; });
document.addEventListener('click', (event) => {
  if (event.target.closest('[data-wallet-connect], [data-connect]')) (account() ? openSignIn : openChooser)();
});
document.addEventListener('htmx:afterSettle', offer);
root.querySelector('[data-sign-out]')?.addEventListener('submit', forget);
// What was asked for needs a fresh signature: the same page follows once there is one.
for (const again of document.querySelectorAll('[data-step-up]')) {
  again.hidden = false;
  again.addEventListener('click', () => sessionWallet().then(openSignIn).catch((error) => {
    document.querySelector('[data-step-up-message]').textContent = error.code === 4001 ? t('You declined.') : error.message;
  }));
}
addEventListener('wallet:changed', show);
addEventListener('wallet:found', listWallets);
offer();
discover();
