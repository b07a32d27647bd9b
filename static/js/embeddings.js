// Embeddings: what the texts cost at most is said on the button while they are written. Only their number and size are asked with.
import { startSending } from './price.js';

const form = document.getElementById('composer');
const label = form.querySelector('[data-price-label]');
const bare = label.textContent; // without a price the button says what it does
let waiting = 0;
let asked = 0;

// As `vectors.weight` counts: in the longest form in which a tokenizer may read it, a byte may be a token.
const encoder = new TextEncoder();
const size = (text) => Math.max(...[text, text.normalize('NFC'), text.normalize('NFKC')].map((form) => encoder.encode(form).length));

async function say() {
  const number = ++asked;
  const texts = form.elements.texts.value.split(/[\r\n]+/).map((line) => line.trim()).filter(Boolean);
  const bytes = texts.reduce((sum, text) => sum + size(text), 0);
  const query = new URLSearchParams({ provider: form.elements.provider.value, bytes, texts: texts.length });
  const answer = await fetch(`${form.dataset.estimate}?${query}`).catch(() => null);
  const said = answer?.ok ? await answer.json().catch(() => ({})) : {};
  if (number === asked) label.textContent = said.label ?? bare;
}

form.elements.texts.addEventListener('input', () => { clearTimeout(waiting); waiting = setTimeout(say, 250); });
form.elements.provider.addEventListener('change', say);
startSending(form);
say();
