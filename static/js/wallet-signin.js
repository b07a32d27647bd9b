// The dialog: choose a wallet, see the message, sign it. The message is the server's; only the signature goes back.
import { config, account, chainNow, connect, declined, ensureChain, found, prompt, walletName } from './wallet-provider.js';
import { post, toHex } from './wallet-http.js';

const root = document.getElementById('wallet');
const dialog = document.getElementById('wallet-dialog');
const at = (name) => dialog.querySelector(`[data-${name}]`);
const say = (text) => { at('wallet-status').textContent = text; };
let pending = null;

function pane(name) {
  for (const element of dialog.querySelectorAll('[data-pane]')) element.hidden = element.dataset.pane !== name;
  document.getElementById('wallet-dialog-title').textContent = name === 'sign' ? 'Sign in' : 'Connect a wallet';
}

function option(wallet) {
  const item = document.createElement('li');
  const button = document.createElement('button');
  button.type = 'button';
  button.className = 'button wallet-option';
  button.dataset.testid = 'wallet-option';
  if (wallet.icon) {
    const icon = document.createElement('img');
    Object.assign(icon, { src: wallet.icon, alt: '', width: 24, height: 24 });
    button.append(icon);
  }
  button.append(wallet.name);
  button.addEventListener('click', () => choose(wallet));
  item.append(button);
  return item;
}

export function listWallets() {
  const wallets = found();
  at('wallet-options').replaceChildren(...wallets.map(option));
  at('wallet-none').hidden = wallets.length > 0;
}

export function openChooser() {
  say('');
  pane('choose');
  listWallets();
  if (!dialog.open) dialog.showModal();
}

async function choose(wallet) {
  say(`Waiting for ${wallet.name}…`);
  try {
    await connect(wallet);
    await openSignIn();
  } catch (error) {
    say(declined(error) ? 'You declined. You can still browse.' : error.message);
  }
}

// Show what will be signed, before the wallet opens.
export async function openSignIn() {
  pane('sign');
  say('');
  at('wallet-sign').disabled = true;
  at('wallet-account').textContent = account();
  if (!dialog.open) dialog.showModal();
  await showChain();
  try {
    pending = await post(root.dataset.prepare, { address: account() });
    at('wallet-notice').textContent = pending.notice;
    at('wallet-message').textContent = pending.message;
    at('wallet-sign').disabled = false;
    at('wallet-sign').focus();
  } catch (error) { say(error.message); }
}

async function showChain() {
  const chain = await chainNow().catch(() => config.chainId);
  at('wallet-chain').hidden = chain === config.chainId;
  at('wallet-chain-text').textContent = `Your wallet is on chain ${chain}. Reading works; to pay, switch.`;
}

async function sign() {
  at('wallet-sign').disabled = true;
  say(`Confirm in ${walletName()}. It is a message, not a transaction.`);
  try {
    const signature = await prompt('personal_sign', [toHex(pending.message), pending.address]);
    await post(root.dataset.verify, { signature });
    location.reload();
  } catch (error) {
    // A message is good for one try; declining keeps it, a refusal by the server needs a new one.
    if (error.refusal) await openSignIn();
    say(declined(error) ? 'You declined. You can still browse.' : error.message);
    at('wallet-sign').disabled = false;
  }
}

at('wallet-sign').addEventListener('click', sign);
at('wallet-switch').addEventListener('click', () => ensureChain().then(showChain).catch((error) => say(declined(error) ? 'You stayed on the other chain.' : error.message)));
