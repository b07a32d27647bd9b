// The dialog: choose a wallet, see the message, sign it. The message is the server's; only the signature goes back.
import { ensureChain } from './wallet-chain.js';
import { account, chainNow, config, connect, declined, found, mismatch, prompt, usual, walletName } from './wallet-provider.js';
import { chainName } from './chain-names.js';
import { beforeEnding } from './ending.js';
import { post, toHex } from './wallet-http.js';
import { t } from './words.js';

const root = document.getElementById('wallet');
const dialog = document.getElementById('wallet-dialog');
const at = (name) => dialog.querySelector(`[data-wallet-${name}]`);
const say = (text) => { at('status').textContent = text; };
let pending = null;
let connected = () => openSignIn();
const anew = () => { const kept = document.querySelector('form[data-kept]'); if (kept) kept.submit(); else location.reload(); };
let signed = anew; // what follows the signature

function pane(name) {
  for (const element of dialog.querySelectorAll('[data-pane]')) element.hidden = element.dataset.pane !== name;
  document.getElementById('wallet-dialog-title').textContent = name === 'sign' ? t('Sign in') : t('Connect a wallet');
}

function option(wallet) {
  const item = document.createElement('li');
  const button = document.createElement('button');
  Object.assign(button, { type: 'button', className: 'button' });
  button.dataset.testid = 'wallet-option';
  if (wallet.icon) button.append(Object.assign(document.createElement('img'), { src: wallet.icon, alt: '', width: 24, height: 24 }));
  button.append(wallet.name);
  button.addEventListener('click', () => choose(wallet));
  item.append(button);
  return item;
}

function listWallets() {
  const wallets = found();
  at('options').replaceChildren(...wallets.map(option));
  at('none').hidden = wallets.length > 0;
}

export function openChooser(then = () => openSignIn()) {
  connected = then;
  say('');
  pane('choose');
  listWallets();
  if (!dialog.open) dialog.showModal();
  at('options').querySelector('button')?.focus();
}

async function choose(wallet) {
  say(t('Waiting for {wallet}…', { wallet: wallet.name }));
  try {
    await connect(wallet);
    await connected();
  } catch (error) {
    say(declined(error) ? t('You declined. You can still browse.') : error.message);
  }
}

// The wallet account that the session belongs to, connected now; asks the person to choose only when it must.
export async function sessionWallet() {
  const wallet = usual();
  if (wallet) await connect(wallet);
  else await new Promise((resolve, reject) => {
    openChooser(() => { dialog.close(); resolve(); });
    dialog.addEventListener('close', () => reject(Object.assign(new Error(t('No wallet was chosen.')), { code: 4001 })), { once: true });
  });
  if (mismatch()) throw new Error(t('Your wallet shows {now}, but you are signed in as {session}.', { now: account(), session: config.session }));
  return account();
}

// Does `work`, and where that is refused because the signature is too old, once more after a new one: what was typed stays.
export async function freshly(work) {
  try { return await work(); } catch (error) {
    if (error.reason !== 'step_up_required') throw error;
    await sessionWallet();
    const over = new AbortController();
    await new Promise((resolve, reject) => {
      openSignIn(() => { resolve(); dialog.close(); });
      say(error.message);
      // Of the chooser before it the event may still be to come.
      const left = () => dialog.open || reject(Object.assign(new Error(t('You declined.')), { code: 4001 }));
      dialog.addEventListener('close', left, { signal: over.signal });
    }).finally(() => over.abort());
    return work();
  }
}

// Show what will be signed, before the wallet opens.
export async function openSignIn(then = anew) {
  // One that was locked since shows no account that a message could be written for.
  if (!account()) { openChooser(() => openSignIn(then)); return; }
  signed = then;
  pane('sign');
  say(t('Writing the message…'));
  at('sign').disabled = true;
  at('message').hidden = true;
  at('account').textContent = account();
  if (!dialog.open) dialog.showModal();
  showChain(); // a wallet that does not say its chain may still sign
  try {
    pending = await post(root.dataset.prepare, { address: account() });
    if (at('status').textContent === t('Writing the message…')) say('');
    at('notice').textContent = pending.notice;
    at('message').textContent = pending.message;
    at('message').hidden = false;
    at('sign').disabled = false;
    at('sign').focus();
  } catch (error) { say(error.message); }
}

async function showChain() {
  const chain = await chainNow().catch(() => config.chainId);
  at('chain').hidden = chain === config.chainId;
  at('chain-text').textContent = t('Your wallet is on {chain}. Reading works; to pay, switch.', { chain: chainName(chain) });
}

async function sign() {
  at('sign').disabled = true;
  say(t('Confirm in {wallet}. It is a message, not a transaction.', { wallet: walletName() }));
  try {
    const signature = await prompt('personal_sign', [toHex(pending.message), pending.address]);
    // What a contract signs may be as long as it likes, and its node is asked whether it is good.
    say(signature.length === 132 ? t('Checking the signature…') : t('Your wallet is a contract; its signature is checked on the chain…'));
    // Signing in as another account ends the session of before, and this page may hear of that before it has the new one.
    await beforeEnding(() => post(root.dataset.verify, { signature }));
    signed();
    // A file leaves the page that asked for the signature where it is.
    const told = document.querySelector('[data-step-up-message]');
    if (told) {
      dialog.close();
      told.textContent = t('Signed. What you asked for follows; a file is in your downloads.');
    }
  } catch (error) {
    // A message is good for one try: declining keeps it, a refusal by the server needs a new one.
    if (error.refusal) await openSignIn(signed);
    say(declined(error) ? t('You declined. You can still browse.') : error.message);
    at('sign').disabled = false;
    at('sign').focus();
  }
}

addEventListener('wallet:found', listWallets);
at('sign').addEventListener('click', sign);
at('switch').addEventListener('click', () => ensureChain().then(showChain).catch((error) => say(declined(error) ? t('You stayed on the other chain.') : error.message)));
