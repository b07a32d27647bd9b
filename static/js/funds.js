// Money pages.
// The withdrawal line: it stops only at amounts the contract takes (everything, or what leaves the minimum), and the
// field beside it keeps the exact amount. Neuron are BigInt: a float would lose some.
import { og, told } from './money.js';
import { t } from './words.js';

const NEURON = 10n ** 18n;
const STEPS = 1000n;

// Neuron for a position of the line; past the last legal partial amount the nearer of the two neighbours.
function snapped(position, available, legal) {
  const wanted = (available * BigInt(position)) / STEPS;
  if (wanted <= legal) return wanted;
  return wanted - legal < available - wanted ? legal : available;
}

// A line that has just come is hidden; one whose numbers a transaction changed comes again.
function draw() {
  const field = document.querySelector('[data-slider][hidden]');
  if (!field) return;
  const line = field.querySelector('input');
  const amount = document.getElementById('tx-amount');
  const [available, legal] = [BigInt(field.dataset.available), BigInt(field.dataset.legal)];
  const tell = (neuron) => line.setAttribute('aria-valuetext', neuron === available ? t('everything, {amount} 0G', { amount: told(neuron) }) : `${told(neuron)} 0G`);
  const [whole, rest] = /^\d+(\.\d*)?$/.test(amount.value) ? amount.value.split('.') : ['0'];
  const typed = BigInt(whole) * NEURON + BigInt((rest ?? '').padEnd(18, '0').slice(0, 18));
  line.value = String(typed >= available ? STEPS : (typed * STEPS) / available);
  tell(typed);
  field.hidden = false;
  line.addEventListener('input', (event) => {
    event.stopPropagation(); // the form reviews the amount, not the line
    const neuron = snapped(Number(line.value), available, legal);
    amount.value = og(neuron);
    tell(neuron);
    amount.dispatchEvent(new Event('input', { bubbles: true }));
  });
  line.addEventListener('change', (event) => {
    event.stopPropagation();
    const neuron = snapped(Number(line.value), available, legal);
    line.value = String((neuron * STEPS) / available);
  });
}
draw();
document.addEventListener('numbers:new', draw);

// What is typed is no longer what was reviewed: until it is, nobody confirms the one and means the other.
function hold() {
  const confirm = document.querySelector('#review [data-tx-confirm]');
  if (confirm) confirm.disabled = true;
}
const form = document.querySelector('[data-tx-form]');
let typed = false; // since the review that was asked for last
form?.addEventListener('input', () => {
  typed = true;
  hold();
});
// The answer to what was typed before comes while the next is not asked for yet.
document.addEventListener('htmx:afterSwap', ({ detail }) => {
  if (typed && detail.target.id === 'review') hold();
});

// A review asks the chain, for seconds where that does not answer: the button says meanwhile that it is under way.
const MOMENT = 300;
form?.addEventListener('htmx:beforeSend', ({ currentTarget, detail: { xhr } }) => {
  typed = false;
  hold();
  const button = currentTarget.querySelector('[type=submit]');
  if (!button) return; // nobody can be chosen
  const busy = setTimeout(() => { button.ariaBusy = true; }, MOMENT);
  xhr.addEventListener('loadend', () => {
    clearTimeout(busy);
    button.ariaBusy = false;
  });
});

// A refund that unlocks while one watches can be collected at once, without a reload; a review from before it is made anew,
// unless the wallet has it.
document.addEventListener('countdown:done', (event) => {
  if (event.target.closest('[data-more]') && !document.querySelector('#review [aria-busy]')) form?.requestSubmit();
  const cell = event.target.closest('tr')?.querySelector('[data-collect-at]');
  if (!cell) return;
  const link = Object.assign(document.createElement('a'), { className: 'button small', href: cell.dataset.collectAt, textContent: t('Collect') });
  link.dataset.testid = 'refund-collect';
  cell.replaceChildren(link);
});
