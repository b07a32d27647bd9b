// The composer at the bottom of the chat: what is written, to whom, how, and what stands in the way.
import { heed } from './toast.js';
import { t } from './words.js';

export const form = document.getElementById('composer');
export const input = form.elements.text;
export const provider = form.elements.provider;

const SETTINGS = ['system', 'temperature', 'top_p', 'max_tokens', 'seed', 'stop', 'schema', 'tools', 'tool_choice'];
const LONGEST_HEARING = 5000;
const sendButton = form.querySelector('[data-send]');
const stopButton = form.querySelector('[data-stop]');
const acceptBox = form.querySelector('[data-accept]');
const errorBox = form.querySelector('[data-error]');
const offline = form.querySelector('[data-offline]');
const editing = form.querySelector('[data-editing]');

export function fail(sentence, href = '') {
  const link = errorBox.querySelector('[data-error-link]');
  errorBox.querySelector('[data-error-text]').textContent = sentence;
  link.hidden = !href;
  if (href) link.href = href;
  errorBox.hidden = !sentence;
}

// A browser cuts what is pasted to the room that a field has, in silence.
let cut = '';
form.addEventListener('beforeinput', ({ target: { value, selectionStart, selectionEnd, maxLength }, data }) => {
  const length = value.length - (selectionEnd - selectionStart) + (data?.length ?? 0);
  if (maxLength > 0 && length > maxLength && data?.length > 1) {
    cut = t('This field takes up to {most} characters: what you put in was cut there.', { most: maxLength.toLocaleString('en') });
    fail(cut);
  } else if (cut && length < maxLength) passed(cut);
});

// What was said to be in the way has passed.
export function passed(sentence) {
  if (errorBox.querySelector('[data-error-text]').textContent === sentence) fail('');
}

// What is not confirmed is no answer that is being written.
const written = offline.querySelector('[data-said]').textContent;
export function lost(yes, asked = false) {
  offline.querySelector('[data-said]').textContent = asked ? t('Reconnecting… your question is sent again by itself.') : written;
  offline.hidden = !yes;
  heed();
}

// Whether everything that can be done before asking is done (the server's word about the chosen provider, refreshed by htmx;
// about any other it is heard when the question arrives there).
export const ready = (other) => {
  const gate = document.getElementById('gate').dataset;
  return gate.ready === 'yes' || gate.provider !== other;
};
export const missing = () => {
  const gate = document.getElementById('gate');
  if (gate.dataset.code !== 'not_verified') return t('One step is missing: see below.');
  const [first, ...rest] = gate.querySelector('p').firstChild.textContent.trim();
  return t('Nothing was sent: {why}', { why: first.toLowerCase() + rest.join('') }); // as the server says it
};

// Ask the server again what is missing: money may have moved, a key may have gone.
export const refresh = () => window.htmx?.trigger(provider, 'refresh');

// Until the gate speaks of `other`: what is heard first may answer an earlier request. No longer than a while.
const heardOf = (other) => new Promise((done) => {
  const over = AbortSignal.timeout(LONGEST_HEARING);
  over.addEventListener('abort', done);
  const hear = () => { if (document.getElementById('gate').dataset.provider === other) done(); };
  provider.addEventListener('htmx:afterRequest', hear, { signal: over });
});

// From here on another provider stands chosen, and what is missing there is known before anything is sent.
export async function choose(other) {
  if (![...provider.options].some(({ value }) => value === other)) return;
  provider.value = other;
  const heard = window.htmx && heardOf(other);
  provider.dispatchEvent(new Event('change', { bubbles: true }));
  await heard;
}

// Send becomes Stop in the same place while an answer is written, and back; the focus goes along.
export function show({ writing, preparing }) {
  const [gone, come] = writing ? [sendButton, stopButton] : [stopButton, sendButton];
  const held = document.activeElement === gone;
  gone.hidden = true;
  come.hidden = false;
  if (held) come.focus({ preventScroll: true });
  sendButton.ariaDisabled = preparing; // what is disabled cannot keep the focus
  sendButton.ariaBusy = preparing;
}

// A changed signing key is accepted by the person, for this key alone.
export function offerSigner(signer = '') {
  acceptBox.hidden = !signer;
  form.elements.accept_signer.value = signer;
  form.elements.accept_signer.checked = false;
}

export function acceptedSigner() {
  const { checked, value } = form.elements.accept_signer;
  return checked ? value : '';
}

// How the next question is asked; the server checks every value.
function settings() {
  const chosen = Object.fromEntries(SETTINGS.map((name) => [name, form.elements[name].value]));
  return { ...chosen, json: form.elements.json.checked, verified: form.elements.verified.checked };
}

// Another version of question `turn` is being written, or (0) a new question.
export function edit(turn, text = '') {
  form.elements.again.value = turn || '';
  form.dispatchEvent(new Event('unedit')); // pictures of a question that was being edited go with it
  editing.hidden = !turn;
  heed();
  if (turn) { input.value = text; input.focus(); input.dispatchEvent(new Event('input', { bubbles: true })); }
}

// Which of the provider's models is asked: its base model, or (where the page offers one) the person's tuned one.
export function tuned() {
  const adapter = form.querySelector('[type="checkbox"][name="adapter"]');
  return adapter?.checked ? { adapter: adapter.value, beside: form.elements.beside.checked } : { adapter: 'base', beside: false };
}

// What is set on the page holds however a question is sent: written, edited, asked again, or continued.
export const how = () => ({ also: form.elements.also.value, options: settings(), ...tuned() });

const edited = () => Number(form.elements.again.value) || null;

// Presets fill in the fields; the server's own set the sampling, a person's everything they saved.
function presets() {
  form.querySelector('[data-presets][hidden]').hidden = false;
  form.addEventListener('click', (event) => {
    const given = event.target.closest('[data-temperature]')?.dataset;
    if (!given) return;
    event.preventDefault();
    form.elements.temperature.value = given.temperature;
    form.elements.top_p.value = given.topP;
    form.elements.json.checked = Boolean(given.json);
    if ('system' in given) {
      for (const name of ['system', 'seed', 'stop', 'schema', 'tools']) form.elements[name].value = given[name];
      form.elements.tool_choice.value = given.toolChoice;
      form.elements.max_tokens.value = given.maxTokens;
    }
    form.dispatchEvent(new Event('change')); // what is sent, and with it its cost, is another
  });
  form.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' || event.target.name !== 'preset_name') return;
    event.preventDefault(); // not the question is meant
    form.querySelector('[data-testid="preset-save"]').click();
  });
}

// Keys that belong to an input method: Safari says of the one that ends a composition only that it was such a key (229).
const composing = ({ isComposing, keyCode }) => isComposing || keyCode === 229;

// Where fingers write, Enter makes a new line: their keyboard has no other key for it, and the button is at hand.
const fingers = matchMedia('(hover: none) and (pointer: coarse)');
form.querySelector('[data-keys]').hidden = fingers.matches;
const sends = ({ key, shiftKey, ctrlKey, metaKey }) => key === 'Enter' && (ctrlKey || metaKey || !(shiftKey || fingers.matches));

// Enter sends, Shift and Enter makes a new line, the up arrow edits the last question, Escape stops.
export function listen({ onAsk, onStop, onEditLast, onEdit }) {
  presets();
  form.addEventListener('submit', (event) => {
    if (event.submitter?.hasAttribute('formaction')) return;
    event.preventDefault();
    onAsk({ text: input.value, again: edited(), written: true });
  });
  stopButton.addEventListener('click', onStop);
  editing.querySelector('[data-unedit]').addEventListener('click', () => {
    edit(0);
    input.value = '';
    input.dispatchEvent(new Event('input', { bubbles: true }));
    input.focus();
  });
  input.addEventListener('keydown', (event) => {
    if (composing(event)) return;
    if (sends(event)) { event.preventDefault(); form.requestSubmit(); }
    if (event.key === 'ArrowUp' && !input.value) { event.preventDefault(); onEditLast(); }
  });
  document.addEventListener('keydown', (event) => {
    if (event.key !== 'Escape' || composing(event) || event.defaultPrevented) return;
    if (!document.querySelector('dialog[open]')) onStop();
  });
  document.addEventListener('click', (event) => {
    const link = event.target.closest?.('[data-edit]');
    if (!link) return;
    event.preventDefault();
    onEdit(Number(link.dataset.edit));
  });
  document.addEventListener('submit', (event) => {
    if (!event.target.matches('[data-again], [data-results]')) return;
    event.preventDefault();
    const given = event.target.elements;
    if (given.called) {
      const results = [...event.target.querySelectorAll('[name="result"]')].map(({ value }) => value);
      onAsk({ text: '', called: Number(given.called.value), results, at: given.provider.value });
    } else onAsk({ text: given.draft?.value ?? '', again: Number(given.edit?.value) || null, at: given.provider?.value });
  });
}
