// Follow shown transactions: ask the server as often as it says (`data-poll` seconds) and stop when it says 0.
import { oneAtATime, pause } from './timing.js';
import { count } from './waiting.js';
import { markup } from './wallet-http.js';
import { announce, heed } from './toast.js';
import { t } from './words.js';
const watched = new Map(); // transaction → who follows it, at which pace
const BACKOFF = 5000;

// The tab says how many transactions are still under way, and the header which of them no block holds yet.
// One that has ended is looked at where it may arrive after all, and is not under way.
const ENDED = ['rejected', 'dropped', 'replaced'];
const moving = () => [...watched.keys()].filter((id) => !ENDED.includes(state(id))).length;
function counted() {
  count(moving());
  document.dispatchEvent(new CustomEvent('tx:counted'));
}

function tell(section, before) {
  const state = section.querySelector('[data-testid="tx-state"]');
  const after = state?.dataset.state;
  if (after === before) return;
  document.dispatchEvent(new CustomEvent('tx:changed', { detail: { id: section.dataset.tx, state: after, before } }));
  if (['included', 'indexed', 'final'].includes(after)) refresh();
}

// The numbers of the page, from the server, once they can have changed.
const refresh = oneAtATime(async () => {
  const parts = [...document.querySelectorAll('[data-refresh]')].map(({ id, dataset }) => [id, dataset.refresh]);
  // What the notice announced is what follows now.
  if (parts.length) for (const notice of document.querySelectorAll('[data-live][data-account], [data-as-of]')) notice.hidden = true;
  for (const [id, path] of parts) {
    const text = await markup(path, { 'HX-Request': 'true', 'HX-Target': id });
    const part = document.getElementById(id);
    if (!text || !part || (part.matches('select') && part === document.activeElement)) continue;
    const chosen = part.value; // a list of providers keeps the one that stands chosen
    part.replaceWith(document.createRange().createContextualFragment(text));
    if (chosen) document.getElementById(id).value = chosen;
    // The account is open: what was said of a first deposit is about no further one.
    if (id === 'act' && !document.querySelector('#act[data-refresh]')) document.querySelector('#tx-amount-note.hint')?.remove();
  }
  document.dispatchEvent(new CustomEvent('numbers:new'));
});

// A review on the screen, or something typed: then numbers wait for the person.
function deciding() {
  if (document.querySelector('#review [data-testid="tx-review"]')) return true;
  return [...document.querySelectorAll('[data-tx-form] input')].some((field) => field.type !== 'hidden' && field.value !== field.defaultValue);
}

// News of this account (live.js): its numbers follow by themselves, unless somebody is deciding by the old ones.
document.addEventListener('live:news', (event) => {
  if (!document.querySelector('[data-refresh]') || (!moving() && deciding())) return;
  event.preventDefault();
  refresh();
  if (!moving()) announce(t('Your balances changed on chain.'));
});
// What was not final when it was shown may be so now.
document.addEventListener('live:block', ({ detail }) => {
  const waiting = [...document.querySelectorAll('[data-refresh] [data-pending]')];
  if (waiting.some(({ dataset }) => Number(dataset.pending) <= detail.final_block) && (moving() || !deciding())) refresh();
});
document.addEventListener('live:show', (event) => {
  if (!document.querySelector('[data-refresh]')) return;
  event.preventDefault();
  event.target.hidden = true;
  refresh();
  // A review was made of the old numbers.
  if (!document.querySelector('#review [data-tx]')) document.querySelector('[data-tx-form]')?.requestSubmit();
});

const shown = (id) => document.querySelector(`[data-tx="${id}"]`);
const state = (id) => shown(id)?.querySelector('[data-testid="tx-state"]')?.dataset.state;

// Show a transaction as it is now, and say so where that is not `before`. False where this page has nothing to show of it
// any more.
async function look(id, before) {
  const response = await fetch(`/account/transactions/${id}/status`, { credentials: 'same-origin' }).catch(() => null);
  // Signed out meanwhile: this account's data is not ours to show. What answers in the site's place gives no id.
  if (response?.status === 404 && response.headers.has('X-Request-ID')) return false;
  const text = response?.ok ? await response.text().catch(() => '') : ''; // the line may break in the middle of an answer
  const next = document.createRange().createContextualFragment(text).querySelector('[data-tx]');
  if (!next) { await pause(BACKOFF); return true; }
  const current = shown(id);
  if (!current) return false;
  // The clock of the wait goes on as it is: it alone is nothing new.
  const clock = current.querySelector('[data-waited]');
  if (clock) next.querySelector('[data-waited]')?.replaceWith(clock.cloneNode(true));
  // Replacing equal markup would steal the focus from a button inside it.
  if (next.outerHTML !== current.outerHTML) {
    const inside = current.contains(document.activeElement);
    current.replaceWith(next);
    if (inside) next.querySelector('h2').focus({ preventScroll: true });
  }
  heed();
  tell(next.isConnected ? next : current, before);
  return true;
}

async function follow(id) {
  const mine = {};
  watched.set(id, mine);
  counted();
  for (;;) {
    const seconds = Number(shown(id)?.dataset.poll ?? 0);
    if (!seconds) break;
    mine.seconds = seconds;
    const before = state(id); // others may show it anew meanwhile, and say nothing
    await pause(seconds * 1000);
    if (watched.get(id) !== mine) return;
    if (shown(id)?.querySelector('[aria-busy]')) continue; // being tried again
    if (!await look(id, before)) break;
  }
  if (watched.get(id) === mine) watched.delete(id);
  counted();
}

// What the server has just heard of a transaction that this page may show.
export async function told(id) {
  if (shown(id) && await look(id, state(id))) watch(document);
}

export function watch(root) {
  for (const section of root.querySelectorAll('[data-tx]')) {
    const id = section.dataset.tx;
    const seconds = Number(section.dataset.poll);
    if (seconds && watched.get(id)?.seconds !== seconds) follow(id);
  }
}
