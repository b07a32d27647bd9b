// The wallet button: Connect → Sign in → 0x1234…abcd, and fresh signatures. What else a session needs: wallet-session.js.
import { account, discover } from './wallet-provider.js';
import { warn } from './toast.js';
import { t } from './words.js';

const root = document.getElementById('wallet');
const button = root.querySelector('[data-wallet-connect]');

// Fetched when somebody wants it, which most who read do not.
export const dialog = (act) => import('./wallet-signin.js').then(act, () => warn(t('Part of this page is missing: reload it.')));

// The page's own buttons do what the header's does; also those swapped in later.
function offer() {
  const label = account() ? t('Sign in') : t('Connect');
  for (const other of document.querySelectorAll('[data-connect]')) Object.assign(other, { hidden: !button, textContent: label });
}

function show() {
  if (button) button.querySelector('[data-wallet-label]').textContent = account() ? t('Sign in') : t('Connect');
  offer();
}

document.addEventListener('click', (event) => {
  if (event.target.closest('[data-wallet-connect], [data-connect]')) dialog(({ openSignIn, openChooser }) => (account() ? openSignIn : openChooser)());
});
document.addEventListener('htmx:afterSettle', offer);
// What needs a fresh signature follows once there is one: the form as it was typed, a part of this page, the page that the
// button names, or the same once more.
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
