// What the question being written may cost at most. Only its size leaves the page, not its words.
import { form, input, provider, tuned } from './chat-composer.js';
import { ids } from './chat-pictures.js';

const PAUSE = 300;
const root = document.getElementById('chat');
const line = form.querySelector('[data-estimate]');
let timer = 0;
let number = 0;

const count = (number, noun) => `${number.toLocaleString('en')} ${noun}${number === 1 ? '' : 's'}`;

// Neuron (digits) as 0G with four significant digits: an upper bound is rounded up, what one has is cut.
export function amount(digits, up = true) {
  if (digits === '0') return '0';
  const kept = digits.slice(0, 4).padEnd(4, '0');
  const rest = digits.slice(4).replaceAll('0', '');
  const head = up && digits.length > 4 && rest ? String(Number(kept) + 1) : kept;
  const value = Number(`${head}e${digits.length - 4 - 18}`);
  return value < 0.000001 ? '<0.000001' : value.toLocaleString('en', { maximumSignificantDigits: 4, maximumFractionDigits: 9 });
}

// Where not even one word could be paid, only money helps.
function missing({ shorter }, both) {
  const where = both ? ' for each of the two' : '';
  return shorter ? ` Not enough${where}: shorten the longest answer, or transfer more.` : ` Not enough${where}: transfer money to ${both ? 'them' : 'this provider'} first.`;
}

async function update() {
  const mine = (number += 1);
  const bytes = new TextEncoder().encode(input.value).length;
  line.hidden = !bytes;
  if (!bytes) return;
  const query = new URLSearchParams({ provider: provider.value, chat: root.dataset.chat, bytes, max_tokens: form.elements.max_tokens.value, pictures: ids(), also: form.elements.also.value, again: form.elements.again.value, beside: tuned().beside ? 'on' : '' });
  const response = await fetch(`${root.dataset.estimates}?${query}`, { credentials: 'same-origin' }).catch(() => null);
  const said = response?.ok ? await response.json() : {};
  if (mine !== number) return;
  line.hidden = !said.most;
  if (!said.most) return;
  const both = said.providers > 1;
  const full = said.context && said.tokens > said.context;
  const with_ = [said.turns && count(said.turns, 'earlier answer'), said.pictures && count(said.pictures, 'picture')].filter(Boolean).join(' and ');
  line.textContent = `About ${count(said.tokens, 'token')}${with_ && `, ${with_} included`}${full ? `: more than the ${said.context.toLocaleString('en')} that this model reads` : ''}. Up to ${amount(said.most)} 0G${both ? ' for both answers' : ''}`
    + (said.free === null ? '.' : ` of the ${amount(said.free, false)} 0G that you may spend ${both ? 'at these two providers' : 'here'}.`)
    + (said.free === null || said.enough ? '' : missing(said, both));
}

const soon = () => { clearTimeout(timer); timer = setTimeout(update, PAUSE); };

export function startEstimates() {
  for (const name of ['input', 'change']) form.addEventListener(name, soon);
  if (input.value) soon();
  return soon;
}
