// Publishing a dataset: the announcement goes to the wallet, then the page follows how far the bytes are.
import { pause, pressed } from './timing.js';
import { announce } from './toast.js';
import { reportKept, send } from './transactions-send.js';

const box = document.getElementById('publish');
const BASE = '/fine-tuning/datasets';
const PAUSE = 1500;
const part = () => document.getElementById('publish-state');
const say = (text) => {
  part().querySelector('[data-tx-message]').textContent = text;
  announce(text);
};
const moving = () => ['waiting', 'sending'].includes(part().dataset.state);

// `message`: what this page said last, which stays while nothing has happened.
async function look(message) {
  const query = new URLSearchParams(location.search);
  query.set('part', 'state');
  const answer = await fetch(`${location.pathname}?${query}`, { credentials: 'same-origin' }).catch(() => null);
  if (!answer?.ok) return;
  const fresh = document.createRange().createContextualFragment(await answer.text().catch(() => '')).querySelector('#publish-state');
  if (!fresh) return;
  const [before, after] = [part(), fresh].map((state) => `${state.dataset.state} ${state.querySelector('h2').textContent}`);
  if (before === after) fresh.querySelector('[data-tx-message]').textContent = message;
  if (fresh.outerHTML === part().outerHTML) return;
  const inside = part().contains(document.activeElement);
  part().replaceWith(fresh);
  if (inside) fresh.querySelector('h2').focus({ preventScroll: true });
  if (before !== after) announce(fresh.querySelector('h2').textContent);
}
const show = () => look('');

// As fast as it moves; seldom where the wallet has it, which may send it without a word.
const pace = () => (moving() ? PAUSE : 1000 * Number(part().dataset.poll));
let following = null; // the newest; one of before ends

async function follow() {
  const mine = {};
  following = mine;
  for (let wait = pace(); wait; wait = pace()) {
    await pause(wait);
    if (following !== mine) return;
    if (document.visibilityState === 'visible' && !part().querySelector('[aria-busy]')) await look(part().querySelector('[data-tx-message]').textContent);
  }
}

box.addEventListener('click', async (event) => {
  const go = event.target.closest('[data-publish-go]');
  if (!go) return;
  const { flow, fee } = part().dataset;
  const [again, unsure] = ['again', 'unsure'].map((name) => name in go.dataset);
  const handed = async () => {
    await show();
    follow();
  };
  try {
    await pressed(go, () => send({ id: box.dataset.dataset, again, unsure, base: BASE, seen: fee }, { allowed: [flow], show: handed, tell: say }));
  } catch (error) {
    await show();
    say(error.message);
  }
  if (document.activeElement === document.body) part().querySelector('h2').focus({ preventScroll: true });
  await follow(); // after a refusal too: it may be that the wallet had sent it in silence
});

reportKept().then(follow);
