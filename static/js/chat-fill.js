// A preset's question has {{names}} for what differs each time: a field for each, and the question follows as they are
// filled in. What is written into them leaves the page with the question only.
import { form, input } from './chat-composer.js';

const NAME = /\{\{\s*([^{}\n]{1,40}?)\s*\}\}/g;
const MOST = 20;
const box = form.querySelector('[data-fill]');
const fields = box.querySelector('[data-fill-fields]');
let body = '';
let before = ''; // what stood in the composer before stays behind the question
let last = null; // what was put there

const names = (text) => [...new Set([...text.matchAll(NAME)].map(([, name]) => name))].slice(0, MOST);
const put = () => {
  if (!input.value) before = ''; // sent
  const given = Object.fromEntries([...fields.querySelectorAll('textarea')].map(({ dataset, value }) => [dataset.name, value]));
  input.value = body.replace(NAME, (whole, name) => given[name] || whole) + before;
  last = input.value;
  input.dispatchEvent(new Event('input', { bubbles: true }));
};
const close = () => { box.hidden = true; fields.replaceChildren(); };

// Put a preset's question into the composer, and ask for what it leaves open.
function fill(text) {
  if (input.value !== last) before = input.value && input.value !== text ? `\n\n${input.value}` : '';
  body = text;
  fields.replaceChildren(...names(text).map((name) => {
    const field = Object.assign(document.createElement('label'), { className: 'field' });
    const area = Object.assign(document.createElement('textarea'), { className: 'input', rows: 1, dir: 'auto' });
    area.dataset.name = name;
    field.append(Object.assign(document.createElement('span'), { textContent: name }), area);
    return field;
  }));
  box.hidden = !fields.children.length;
  put();
  (fields.querySelector('textarea') ?? input).focus();
}

export function startFilling() {
  // The fields are no part of what is sent: their words are in the question.
  fields.addEventListener('input', (event) => { event.stopPropagation(); put(); });
  fields.addEventListener('keydown', (event) => { event.stopPropagation(); });
  box.querySelector('[data-fill-close]').addEventListener('click', () => { close(); input.focus(); });
  // A preset keeps the open places, not what was filled in.
  form.addEventListener('htmx:configRequest', ({ target, detail }) => {
    if (!box.hidden && target.closest('#own-presets')) detail.parameters.text = body;
  });
  // Whoever writes into the question itself goes on by hand.
  input.addEventListener('input', (event) => { if (event.isTrusted) close(); });
  form.addEventListener('click', (event) => {
    const chosen = event.target.closest('[data-body]')?.dataset.body;
    if (chosen) fill(chosen);
  });
  const chosen = form.querySelector('[data-body][aria-current]')?.dataset.body;
  if (chosen && input.value === chosen) fill(chosen);
}
