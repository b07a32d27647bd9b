// From a review to a hash: store it, hand it to the wallet, report what became of it. Nothing is sent to an address
// outside the page's closed list, on another chain, or from another account than the one that signed in.
import { ensureChain } from './wallet-chain.js';
import { account, chainNow, config, declined, mismatch, prompt, read, recall, remember, same, unanswered, walletName } from './wallet-provider.js';
import { beforeEnding } from './ending.js';
import { sessionWallet } from './wallet-signin.js';
import { pause } from './timing.js';
import { post } from './wallet-http.js';
import { t } from './words.js';

const CENTRE = '/account/transactions';
const PATIENCE = 10_000;
const path = (id, verb, base = CENTRE) => `${base}/${id}/${verb}`;

// A hash must reach the server even when the connection hiccups or the session ends meanwhile: the money may already
// be moving. It is kept here until the server has it, and told again by the next page that is signed in.
const KEPT = 'transactions';
const kept = () => Object(recall(KEPT));
const keep = (id, hash, base) => remember(KEPT, { ...kept(), [id]: { hash, of: config.session, base } });
function forget(id) {
  const { [id]: _, ...rest } = kept();
  remember(KEPT, Object.keys(rest).length ? rest : null);
}

// The server knows what became of it, and takes no hash. Whatever answers in its place gives no code.
const final = (error) => error.reason && error.status >= 400 && error.status < 500 && ![401, 403, 429].includes(error.status);

async function report(id, hash, base) {
  keep(id, hash, base);
  for (let wait = 500; ; wait *= 2) {
    try {
      const answer = await post(path(id, 'submitted', base), { tx_hash: hash });
      forget(id);
      return answer;
    } catch (error) {
      if (final(error)) { forget(id); throw error; }
      if (error.status === 401) throw new Error(t('It was sent as {hash}, but you are signed out. Sign in again to follow it; do not send it twice.', { hash }));
      // 403: who is signed in now is so since this page was made. That says nothing of what the wallet did, nor does silence.
      if (error.status === 403 || wait > 16000) throw new Error(t('It was sent as {hash}, but this page could not tell the site. Reload it to follow the transaction; do not send it twice.', { hash }));
      await pause(wait);
    }
  }
}

// Hashes of this account that an earlier page could not tell.
export async function reportKept(told = () => {}) {
  for (const [id, { hash, of, base }] of Object.entries(kept()).filter(([, value]) => value)) {
    if (config.session && same(of, config.session)) await report(id, hash, base).then(() => told(id)).catch(() => {});
  }
}

const elsewhere = () => new Error(t('Your wallet is on another chain. Switch it to {chain}.', { chain: config.chain.chainName }));

// The last look before the wallet opens; wallets change while pages wait.
async function verify(transaction, allowed) {
  if (!allowed.includes(transaction.to.toLowerCase())) {
    throw new Error(t('This transaction would go to an address outside the network’s contracts.'));
  }
  const [now] = await read('eth_accounts');
  if (!same(now, transaction.from) || !same(account(), config.session)) {
    const values = { now: now ?? t('no account'), session: config.session };
    throw new Error(t('Your wallet shows {now}, but you are signed in as {session}.', values));
  }
  if (await chainNow() !== config.chainId) {
    throw elsewhere();
  }
}

const asked = new Map(); // transaction → what stands for the request that the wallet got last

// `what`: {start: {action, params, seen}} for a new one, or {id, again, unsure} for a stored one; `unsure`: the wallet may have
// sent it in silence; `base`: where its doors are, if not in the transaction centre, and what was `seen` of it there.
export const send = (what, means) => beforeEnding(() => attempt(what, means), 5000);

async function attempt(what, { allowed, show, tell }) {
  if (what.again) unanswered();
  // Of a request that may be open still, or ended in an error, nobody knows here what became of it.
  const unsent = (text) => (what.again || what.unsure ? text : `${text} ${t('Nothing was sent.')}`);
  tell(t('Asking your wallet for its account…'));
  // Neither may ever be answered: a request to unlock or to switch can be hidden, an extension can have died.
  const late = setTimeout(() => tell(unsent(t('{wallet} has not answered yet. Open it from the browser’s toolbar, or reload this page.', { wallet: walletName() }))), PATIENCE);
  try {
    await sessionWallet();
    await ensureChain();
  } catch (error) {
    if (!declined(error)) throw mismatch() ? new Error(unsent(error.message)) : error;
    if (account() && await chainNow() !== config.chainId) throw new Error(unsent(elsewhere().message));
    throw new Error(unsent(t('You declined.')));
  } finally { clearTimeout(late); }
  const id = what.id ?? (await post('/account/transactions/start', what.start)).id;
  const { transaction } = await post(path(id, 'confirm', what.base), { again: Boolean(what.again), seen: what.seen }).catch(async (error) => {
    // Another page, or the wallet in silence, was faster; or the answer was lost, and it waits for the wallet now.
    if (['already_under_way', 'offline', ''].includes(error.reason)) await show(id);
    throw error;
  });
  await show(id);
  const mine = {};
  asked.set(id, mine);
  let handed = Boolean(what.again); // the request of before may be open still
  let hash;
  try {
    hash = await prompt('eth_sendTransaction', [{ ...transaction, chainId: config.chain.chainId }], async () => {
      if (asked.get(id) !== mine) throw new Error('asked again'); // shown to nobody, see below
      await verify(transaction, allowed);
      handed = true;
    });
    if (!/^0x[0-9a-f]{64}$/i.test(hash)) throw new Error(t('The wallet gave no hash.'));
  } catch (error) {
    if (asked.get(id) !== mine) return; // the person was asked again meanwhile, and that request is open
    const unheard = await post(path(id, 'rejected', what.base), { declined: declined(error), handed }).then(() => null, (failure) => failure);
    await show(id);
    if (declined(error) && unheard) throw unheard;
    if (declined(error)) return;
    // Many a wallet gives an error after it has sent.
    const why = String(error?.message ?? '').slice(0, 300);
    throw new Error((handed ? `${why} ${t('Look in your wallet before you try again: it may have been sent all the same.')}` : unsent(why)).trim());
  }
  await report(id, hash, what.base);
  await show(id);
}
