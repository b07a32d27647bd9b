// What the question being written may cost at most. Only its size leaves the page, not its words.
import { form, input, provider } from './chat-composer.js';

const PAUSE = 300;
const root = document.getElementById('chat');
const line = form.querySelector('[data-estimate]');
let timer = 0;
let number = 0;

// Neuron as 0G, rounded up to four significant digits: an upper bound must not be rounded down.
export function amount(neuron) {
  const digits = neuron.toString();
  const kept = digits.slice(0, 4).padEnd(4, '0');
  const rest = digits.slice(4).replaceAll('0', '');
  const head = digits.length > 4 && rest ? String(Number(kept) + 1) : kept;
  const value = Number(`${head}e${digits.length - 4 - 18}`);
  return value < 0.000001 ? '<0.000001' : value.toLocaleString('en', { maximumSignificantDigits: 4, maximumFractionDigits: 9 });
}

async function update() {
  const mine = (number += 1);
  const bytes = new TextEncoder().encode(input.value).length;
  line.hidden = !bytes;
  if (!bytes) return;
  const query = new URLSearchParams({ provider: provider.value, chat: root.dataset.chat, bytes, max_tokens: form.elements.max_tokens.value });
  const response = await fetch(`${root.dataset.estimates}?${query}`, { credentials: 'same-origin' }).catch(() => null);
  const said = response?.ok ? await response.json() : {};
  if (mine !== number) return;
  line.hidden = !said.most;
  if (!said.most) return;
  const most = BigInt(said.most);
  line.textContent = `About ${said.tokens.toLocaleString('en')} tokens${said.turns ? `, ${said.turns} earlier answers included` : ''}. Up to ${amount(most)} 0G`
    + (said.free === '0' ? '.' : `; ${amount(BigInt(said.free))} 0G may be spent here.`)
    + (said.enough || said.free === '0' ? '' : ' That may not be enough: shorten the longest answer, or transfer more.');
}

const soon = () => { clearTimeout(timer); timer = setTimeout(update, PAUSE); };

export function startEstimates() {
  for (const name of ['input', 'change']) form.addEventListener(name, soon);
  if (input.value) soon();
  return soon;
}
