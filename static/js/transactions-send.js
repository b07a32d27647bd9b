// From a review to a hash: store it, hand it to the wallet, report what became of it. Nothing is sent to an address
// outside the page's closed list, on another chain, or from another account than the one that signed in.
import { account, chainNow, config, declined, ensureChain, prompt, read, same } from './wallet-provider.js';
import { sessionWallet } from './wallet-signin.js';
import { post } from './wallet-http.js';

const path = (id, verb) => `/account/transactions/${id}/${verb}`;
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

// A hash must reach the server even when the connection hiccups: the money may already be moving.
async function report(id, hash) {
  for (let wait = 500; ; wait *= 2) {
    try { return await post(path(id, 'submitted'), { tx_hash: hash }); } catch (error) {
      if (wait > 16000 || (error.status >= 400 && error.status < 500 && error.status !== 429)) throw error;
      await pause(wait);
    }
  }
}

// The last look before the wallet opens; wallets change while pages wait.
async function verify(transaction, allowed) {
  if (!allowed.includes(transaction.to.toLowerCase())) throw new Error('This transaction would go to an address outside the network’s contracts. Nothing was sent.');
  const [now] = await read('eth_accounts');
  if (!same(now, transaction.from) || !same(account(), config.session)) throw new Error(`Your wallet shows ${now ?? 'no account'}, but you are signed in as ${config.session}. Nothing was sent.`);
  if (await chainNow() !== config.chainId) throw new Error(`Your wallet is on another chain. Switch it to ${config.chain.chainName}; nothing was sent.`);
}

// `what`: {start: {action, params, seen}} for a new one, or {id, again} for a stored one.
export async function send(what, { allowed, show, tell }) {
  try {
    tell('Asking your wallet for its account…');
    await sessionWallet();
    await ensureChain();
  } catch (error) {
    throw declined(error) ? new Error('You declined. Nothing was sent.') : error;
  }
  const id = what.id ?? (await post('/account/transactions/start', what.start)).id;
  const { transaction } = await post(path(id, 'confirm'), { again: Boolean(what.again) });
  await show(id);
  let hash;
  try {
    await verify(transaction, allowed);
    hash = await prompt('eth_sendTransaction', [transaction]);
  } catch (error) {
    await post(path(id, 'rejected'), { declined: declined(error) });
    await show(id);
    if (declined(error)) return;
    throw new Error(error.message || 'The wallet could not send it. Nothing was sent.');
  }
  await report(id, hash);
  await show(id);
}
