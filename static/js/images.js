// Pictures: the price on the button, the mask, before and after, and what has come while one looks.
import { startMask } from './mask.js';
import { og, startSending, unit } from './price.js';
import { t } from './words.js';

const form = document.getElementById('composer');

function price() {
  const label = form.querySelector('[data-price-label]');
  const count = Number(form.elements.count.value) || 1;
  label.textContent = `${label.dataset.verb} ${count} – ${og(unit(form, 'output') * BigInt(count))} 0G`;
}

if (form) {
  startMask(form);
  startSending(form);
  form.addEventListener('change', price);
  price();
}

// Before and after: the slider moves the edge of the upper picture.
document.addEventListener('input', ({ target }) => {
  const figure = target.closest?.('[data-compare]');
  if (figure) figure.querySelectorAll('img')[1].style.clipPath = `inset(0 0 0 ${target.value}%)`;
});

// One sentence when a request ends, wherever on the page one is.
document.body.addEventListener('htmx:beforeSwap', ({ detail }) => {
  const before = detail.target?.dataset?.state;
  if (!['sending', 'queued', 'running'].includes(before)) return;
  const after = new DOMParser().parseFromString(detail.serverResponse, 'text/html').querySelector('[data-state]')?.dataset.state;
  const text = { done: t('The pictures have come.'), failed: t('The pictures did not come.') }[after];
  if (text) document.dispatchEvent(new CustomEvent('announce', { detail: { text } }));
});
