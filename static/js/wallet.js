// The wallet button: Connect → Sign in → 0x1234…abcd, and the banner when wallet and session disagree.
import { account, config, discover, forget, mismatch, walletName } from './wallet-provider.js';
import { listWallets, openChooser, openSignIn, sessionWallet } from './wallet-signin.js';

const root = document.getElementById('wallet');
const banner = document.getElementById('wallet-banner');
const button = root.querySelector('[data-wallet-connect]');
const brief = (address) => `${address.slice(0, 6)}…${address.slice(-4)}`;

// Buttons in the page that do what the one in the header does; also those swapped in later.
function offer() {
  const label = account() ? 'Sign in' : 'Connect';
  for (const other of document.querySelectorAll('[data-connect]')) Object.assign(other, { hidden: !button, textContent: label });
}

function show() {
  const now = account();
  if (button) button.querySelector('[data-wallet-label]').textContent = now ? 'Sign in' : 'Connect';
  offer();
  const fact = root.querySelector('[data-wallet-fact]');
  if (fact && now) fact.textContent = `Connected: ${walletName()} shows ${brief(now)}.`;
  banner.hidden = !mismatch();
  if (banner.hidden) return;
  banner.querySelector('[data-wallet-mismatch]').textContent = `You are signed in as ${brief(config.session)}, your wallet shows ${brief(now)}.`;
  banner.querySelector('[data-wallet-sign-other]').textContent = `Sign in as ${brief(now)}`;
  banner.querySelector('[data-wallet-keep]').textContent = `Keep ${brief(config.session)}, read only`;
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
    document.querySelector('[data-step-up-message]').textContent = error.code === 4001 ? 'You declined.' : error.message;
  }));
}
addEventListener('wallet:changed', show);
addEventListener('wallet:found', listWallets);
offer();
discover();
