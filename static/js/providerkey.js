// `await ensureKey(provider)`: a usable provider key exists on the server afterwards, or an Error says why not.
// The wallet signs 32 bytes whose meaning is shown first; the key itself never comes to this page.
import { account, declined, prompt, walletName } from './wallet-provider.js';
import { sessionWallet } from './wallet-signin.js';
import { make, openDialog } from './dialog.js';
import { post } from './wallet-http.js';
import { announce } from './toast.js';
import { t } from './words.js';

function pairs(fields) {
  const list = make('dl', '', 'pairs');
  for (const field of fields) {
    const row = make('div');
    const value = make('dd');
    value.append(make('span', field.value, 'mono'));
    if (field.means) value.append(make('p', field.means, 'note'));
    row.append(make('dt', field.name), value);
    list.append(row);
  }
  return list;
}

// Show what the signature means and wait for the person: resolves true to go on, false when they leave.
export function ask(wanted, heading = t('Make a key for this provider'), confirm = t('Make the key')) {
  const bytes = make('pre', `${wanted.raw}\n\n${t('signed as {digest}', { digest: wanted.digest })}`, 'message');
  bytes.tabIndex = 0;
  const free = make('p', t('A signature, not a transaction. No cost. The provider asks for it before it answers.'));
  const leave = make('button', t('Not now'), 'button');
  const go = make('button', confirm, 'button primary');
  go.dataset.testid = 'key-confirm';
  const { dialog, end } = openDialog(heading, [free, pairs(wanted.fields), make('p', wanted.scope, 'note'), bytes], [leave, go]);
  return new Promise((resolve) => {
    const answer = (yes) => {
      end();
      resolve(yes);
    };
    leave.addEventListener('click', () => answer(false));
    go.addEventListener('click', () => answer(true));
    dialog.addEventListener('close', () => answer(false)); // Esc
  });
}

// Resolves to {ready: true, expires_at}; rejects with `error.declined` when the person said no.
export async function ensureKey(provider, serviceName = '') {
  const held = await post('/account/keys/prepare', { provider, service_name: serviceName });
  if (held.ready) return held;
  const refuse = () => Object.assign(new Error(t('You declined. No key was made.')), { declined: true });
  if (!await ask(held)) throw refuse();
  try {
    await sessionWallet();
    announce(t('Confirm in {wallet}.', { wallet: walletName() }));
    const signature = await prompt('personal_sign', [held.digest, account()]);
    return { ...await post('/account/keys/store', { provider, signature }), made: true };
  } catch (error) {
    throw declined(error) ? refuse() : error;
  }
}
