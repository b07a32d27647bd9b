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

async function show() {
  const query = new URLSearchParams(location.search);
  query.set('part', 'state');
  const answer = await fetch(`${location.pathname}?${query}`, { credentials: 'same-origin' }).catch(() => null);
  if (!answer?.ok) return;
  const fresh = document.createRange().createContextualFragment(await answer.text()).querySelector('#publish-state');
  const before = part().dataset.state;
  if (!fresh || fresh.outerHTML === part().outerHTML) return;
  const inside = part().contains(document.activeElement);
  part().replaceWith(fresh);
  if (inside) fresh.querySelector('h2').focus({ preventScroll: true });
  if (before !== fresh.dataset.state) announce(fresh.querySelector('h2').textContent);
}

async function follow() {
  while (moving()) {
    await pause(PAUSE);
    if (document.visibilityState === 'visible') await show();
  }
}

box.addEventListener('click', async (event) => {
  const go = event.target.closest('[data-publish-go]');
  if (!go) return;
  const allowed = [part().dataset.flow];
  const [again, unsure] = ['again', 'unsure'].map((name) => name in go.dataset);
  try {
    await pressed(go, () => send({ id: box.dataset.dataset, again, unsure, base: BASE }, { allowed, show, tell: say }));
  } catch (error) {
    await show();
    say(error.message);
  }
  if (document.activeElement === document.body) part().querySelector('h2').focus({ preventScroll: true });
  await follow(); // after a refusal too: it may be that the wallet had sent it in silence
});

reportKept().then(follow);
