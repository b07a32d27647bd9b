// Pictures: the price on the button, the mask, before and after, and what has come while one looks.
import { startMask } from './mask.js';
import { told } from './money.js';
import { dollars, startSending, unit } from './price.js';
import { announce } from './toast.js';
import { t } from './words.js';

const form = document.getElementById('composer');

function price() {
  const label = form.querySelector('[data-price-label]');
  const count = Math.trunc(Number(form.elements.count.value)) || 1;
  const fee = unit(form, 'output') * BigInt(count);
  const text = `${label.dataset.verb} ${count} – ${told(fee)} 0G${dollars(form, fee)}`;
  // A press on the button ends the typing, and with it comes `change`: Safari drops a press whose words were replaced under it.
  if (label.textContent !== text) label.textContent = text;
}

const OPTIONS = { size: t('size'), seed: t('seed'), num_inference_steps: t('steps'), output_format: t('format') };

// What the chosen provider takes, by its own word. A picture that was chosen already stays to be seen.
async function able() {
  const { provider, edit, picture } = form.elements;
  const wanted = provider.value;
  const answer = wanted && await fetch(`${form.dataset.able}?provider=${wanted}`, { credentials: 'same-origin' }).catch(() => null);
  const said = answer?.ok ? await answer.json() : { options: Object.keys(OPTIONS), edits: true };
  if (wanted !== provider.value) return;
  const missing = Object.keys(OPTIONS).filter((name) => !said.options.includes(name));
  const names = missing.map((name) => OPTIONS[name]).join(', ');
  form.querySelector('[data-untaken]').textContent = names && t('By its own list this model does not take: {names}. That is not sent.', { names });
  const changing = Boolean(edit.value || picture.files.length);
  form.querySelector('[data-editing]').hidden = !said.edits && !changing;
  form.querySelector('[data-no-edits]').hidden = said.edits || !changing;
}

// What the server would refuse once all of it has travelled, by first bytes and size as it looks (inference/media/uploads.py).
const SIGNS = /^(\x89PNG\r\n\x1a\n|\xff\xd8\xff|RIFF[^]{4}WEBP)/;
const MOST = 10 << 20;

async function judge() {
  const [file] = form.elements.picture.files;
  const bytes = await file?.slice(0, 12).arrayBuffer().catch(() => null); // gone meanwhile
  const begins = String.fromCharCode(...new Uint8Array(bytes ?? 0));
  if (file !== form.elements.picture.files[0]) return;
  const box = form.querySelector('[data-unusable]');
  box.hidden = !file || (file.size <= MOST && SIGNS.test(begins));
  box.lastElementChild.textContent = box.hidden ? '' : t('{name} cannot be used: bring a PNG, JPG or WEBP up to 10 MB.', { name: file.name });
}

if (form) {
  startMask(form);
  startSending(form);
  form.addEventListener('change', price);
  form.elements.provider.addEventListener('change', able);
  form.elements.picture.addEventListener('change', judge);
  // What was folded at the lower edge opens below it.
  const editing = form.querySelector('[data-editing]');
  editing.querySelector('summary').addEventListener('click', () => setTimeout(() => editing.open && editing.scrollIntoView({ block: 'nearest' })));
  price();
  able();
  judge();
}

// Before and after: the slider moves the edge of the upper picture.
document.addEventListener('input', ({ target }) => {
  const figure = target.closest?.('[data-compare]');
  if (figure) figure.querySelectorAll('img')[1].style.clipPath = `inset(0 0 0 ${target.value}%)`;
});

// One sentence when a request ends, wherever on the page one is.
document.body.addEventListener('htmx:beforeSwap', ({ detail }) => {
  const before = detail.requestConfig?.elt?.dataset.state;
  if (!['queued', 'running'].includes(before)) return;
  const after = new DOMParser().parseFromString(detail.serverResponse, 'text/html').querySelector('.work')?.dataset.state;
  const text = { done: t('The pictures have come.'), failed: t('The pictures did not come.') }[after];
  if (text) announce(text);
});

// The page of one request is fetched whole while it is waited for: whether its proof is open, and where one is, stay.
let was = {};
document.body.addEventListener('htmx:beforeSwap', ({ detail: { target } }) => {
  if (target?.id !== 'whole') return;
  was = { open: target.querySelector('.proof[open]'), at: target.contains(document.activeElement) && document.activeElement.outerHTML };
});
document.body.addEventListener('htmx:afterSwap', ({ target }) => {
  if (target.id !== 'whole') return;
  if (was.open) target.querySelector('.proof')?.setAttribute('open', '');
  [...target.querySelectorAll('a, button, summary')].find(({ outerHTML }) => outerHTML === was.at)?.focus({ preventScroll: true });
});
