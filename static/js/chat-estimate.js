// What the question being written may cost at most. Only its size leaves the page, not its words.
import { form, how, input, provider, tuned } from './chat-composer.js';
import { named } from './chat-pictures.js';
import { about } from './money.js';
import { t, tn } from './words.js';

const PAUSE = 300;
const root = document.getElementById('chat');
const line = form.querySelector('[data-estimate]');
const newest = new WeakMap(); // line → what it was last asked for
let timer = 0;

const whole = (number) => number.toLocaleString('en');

// Where not even one word could be paid, only money helps.
function missing({ shorter }, both) {
  if (both && shorter) return t('Not enough for each of the two: lower “Most tokens” in the settings, or transfer more.');
  if (both) return t('Not enough for each of the two: transfer money to them first.');
  return shorter ? t('Not enough: lower “Most tokens” in the settings, or transfer more.') : t('Not enough: transfer money to this provider first.');
}

// How much is sent, what goes along included.
function size({ tokens, turns, pictures, context }) {
  const about = tn('About {n} token', 'About {n} tokens', tokens, { n: whole(tokens) });
  const along = [
    turns && tn('{n} earlier answer', '{n} earlier answers', turns, { n: whole(turns) }),
    pictures && tn('{n} picture', '{n} pictures', pictures, { n: whole(pictures) }),
  ].filter(Boolean);
  const what = along.length ? t('{size}, {along} included', { size: about, along: along.join(t(' and ')) }) : about;
  return context && tokens > context ? t('{size}: more than the {most} that this model reads.', { size: what, most: whole(context) }) : `${what}.`;
}

function cost(said, both) {
  const most = about(BigInt(said.most));
  const bare = both ? t('Up to {most} 0G for both answers.', { most }) : t('Up to {most} 0G.', { most });
  if (said.free === null) return bare;
  if (said.free === '0') return said.enough ? bare : `${bare} ${missing(said, both)}`;
  const values = { most, free: about(BigInt(said.free), false) };
  const of = both
    ? t('Up to {most} 0G for both answers of the {free} 0G that you may spend at these two providers.', values)
    : t('Up to {most} 0G of the {free} 0G that you may spend here.', values);
  return said.enough ? of : `${of} ${missing(said, both)}`;
}

// The bytes of a value in a request, which is JSON, without its outer signs.
const bytesOf = (value) => new TextEncoder().encode(JSON.stringify(value)).length - 2;
// What is set on the page and goes along with every question, beside the length that the estimate asks with.
function set() {
  const { max_tokens: length, verified, ...sent } = how().options;
  return Object.fromEntries(Object.entries(sent).filter(([, value]) => value));
}

// The composer's line keeps its room while it says nothing: the buttons below it stay where they are when one presses them.
function put(place, said) {
  place.textContent = said;
  place.hidden = !said && place !== line;
}

async function tell(place, bytes, more) {
  const mine = {};
  newest.set(place, mine);
  if (!bytes) { put(place, ''); return; }
  const query = new URLSearchParams({
    chat: root.dataset.chat,
    bytes,
    settings: bytesOf(set()),
    max_tokens: form.elements.max_tokens.value,
    also: form.elements.also.value,
    beside: tuned().beside ? 'on' : '',
    ...more,
  });
  const response = await fetch(`${root.dataset.estimates}?${query}`, { credentials: 'same-origin' }).catch(() => null);
  const said = response?.ok ? await response.json().catch(() => ({})) : {};
  if (newest.get(place) !== mine) return;
  if (!said.most) { put(place, ''); return; }
  const dollars = said.dollars ? ` ${t('At most {dollars}.', said)}` : '';
  put(place, `${size(said)} ${cost(said, said.providers > 1)}${dollars}`);
}

function update() {
  const { pictures, had } = named();
  tell(line, bytesOf(input.value), { provider: provider.value, pictures, ...(had && { had }), again: form.elements.again.value });
}

// The same of results that are given for the functions which an answer calls.
function given({ target }) {
  const results = target.closest?.('[data-results]');
  if (!results) return;
  const { called, provider: asked } = results.elements;
  const bytes = [...results.querySelectorAll('[name="result"]')].reduce((sum, { value }) => sum + bytesOf(value), 0);
  clearTimeout(timer);
  timer = setTimeout(() => tell(results.querySelector('[data-estimate]'), bytes, { provider: asked.value, called: called.value }), PAUSE);
}

const soon = () => { clearTimeout(timer); timer = setTimeout(update, PAUSE); };

export function startEstimates() {
  put(line, '');
  for (const name of ['input', 'change']) form.addEventListener(name, soon);
  document.addEventListener('input', given);
  if (input.value) soon();
  return soon;
}
