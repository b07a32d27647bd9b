// The transaction centre of a page: confirm a review, go on with a stored transaction, watch until it is settled.
import { reportKept, send } from './transactions-send.js';
import './funds.js';
import { pressed } from './timing.js';
import './transactions-next.js';
import { told, watch } from './transactions-watch.js';
import { announce, heed, warn } from './toast.js';
import { markup } from './wallet-http.js';

const area = () => document.getElementById('review');
const say = (text, near) => {
  const place = near?.isConnected ? near.closest('.tx') : area();
  const line = place?.querySelector('[data-tx-message]');
  if (!line) return;
  line.textContent = text;
  announce(text);
  heed();
};

// Put the server's fragment of a transaction where its review was, and follow it.
async function show(id) {
  const text = await markup(`/account/transactions/${id}/status`);
  if (!text) return; // what is under way goes on: only its picture is missing
  area().replaceChildren(document.createRange().createContextualFragment(text));
  watch(area());
  heed();
  reveal(); // it is shorter than the review was, and would lie above what a phone shows
  if (document.activeElement === document.body) area().querySelector('h2')?.focus({ preventScroll: true });
  // What is in our numbers already, or has ended, came without a step between: whoever waits for it hears of it now.
  const [section, state] = [area().querySelector('[data-tx]'), area().querySelector('[data-testid="tx-state"]')?.dataset.state];
  if (section && (state === 'indexed' || !Number(section.dataset.poll))) document.dispatchEvent(new CustomEvent('tx:changed', { detail: { id, state } }));
}

// One press at a time: the button stays off until this attempt has ended.
async function attempt(button, work) {
  try {
    await pressed(button, work);
  } catch (error) {
    const form = error.reason === 'numbers_changed' && document.querySelector('[data-tx-form]');
    if (form) {
      form.requestSubmit(); // the new review takes the place of the line that would say why
      warn(error.message);
    } else {
      say(error.message, button);
    }
  }
}

document.addEventListener('click', (event) => {
  const confirm = event.target.closest?.('[data-tx-confirm]');
  const go = event.target.closest?.('[data-tx-send]');
  if (!confirm && !go) return;
  const allowed = area().dataset.contracts.toLowerCase().split(' ');
  const tell = (text) => say(text, confirm ?? go);
  if (confirm) {
    const { action, params, seen, then = '' } = confirm.dataset;
    attempt(confirm, () => send({ start: { action, params: JSON.parse(params), seen, then } }, { allowed, show, tell }));
  } else if (go) {
    attempt(go, () => send({ id: go.dataset.txSend, again: 'again' in go.dataset, unsure: 'unsure' in go.dataset }, { allowed, show, tell }));
  }
});

watch(document);
reportKept(told);

// Whoever asks for a review wants to see it, from its beginning: by its button (scripts submit the form without one), or by
// a link that brought the amount along.
const reveal = () => area().scrollIntoView({ block: area().getBoundingClientRect().top < 0 ? 'start' : 'nearest' });
let asked = false;
document.querySelector('[data-tx-form]')?.addEventListener('submit', ({ submitter }) => { asked ||= Boolean(submitter); });
document.addEventListener('htmx:afterSettle', ({ detail }) => {
  if (detail.target.id !== 'review') return;
  const field = document.querySelector('#tx-amount, #tx-slots'); // what can be typed wrong
  const wrong = document.getElementById('tx-wrong');
  const note = `${field?.id}-note`;
  document.querySelector(`#${note}.error`)?.remove(); // of what the page was asked with
  field?.setAttribute('aria-invalid', Boolean(wrong));
  field?.setAttribute('aria-describedby', wrong ? 'tx-wrong' : note);
  if (asked) reveal();
  asked = false;
});

// A step that follows another opens by itself (transactions-next.js): keyboard and ear go on there, and hear what was done.
addEventListener('load', () => {
  if (location.hash !== '#review') return;
  const next = area()?.querySelector('h2') ?? area()?.querySelector('.tx') ?? document.getElementById('act');
  if (!next) return;
  next.tabIndex = -1;
  next.focus({ preventScroll: true });
  const done = [...document.querySelectorAll('[data-tx-form] .stepper [data-state=done]')].at(-1);
  if (done) next.setAttribute('aria-describedby', done.id ||= 'tx-done');
});

// What was typed before the page had loaded (or the browser has filled in again) is reviewed too; not in the place of a
// transaction that waits or is under way, which may be the same.
addEventListener('load', () => {
  if (area()?.querySelector('[data-tx-send], [data-tx]:not([data-poll="0"])')) return;
  const form = document.querySelector('[data-tx-form]');
  const typed = form && [...form.querySelectorAll('input.input')].some((input) => input.value !== input.defaultValue);
  if (typed) form.requestSubmit();
  else if (location.search.includes('action=') && area().querySelector('.tx:not([data-tx])')) reveal();
});
