// The composer at the bottom of the chat: what is written, to whom, and what stands in the way.
export const form = document.getElementById('composer');
export const input = form.elements.text;
export const provider = form.elements.provider;

const sendButton = form.querySelector('[data-send]');
const stopButton = form.querySelector('[data-stop]');
const acceptBox = form.querySelector('[data-accept]');
const errorBox = form.querySelector('[data-error]');
const offline = form.querySelector('[data-offline]');

export function fail(sentence) {
  errorBox.querySelector('[data-error-text]').textContent = sentence;
  errorBox.hidden = !sentence;
}

export function lost(yes) { offline.hidden = !yes; }

// Whether everything that can be done before asking is done (the server's word, refreshed by htmx).
export const ready = () => document.getElementById('gate').dataset.ready === 'yes';

// Ask the server again what is missing: money may have moved, a key may have gone.
export const refresh = () => window.htmx?.trigger(provider, 'refresh');

// Send becomes Stop in the same place while an answer is written.
export function show({ writing, preparing }) {
  sendButton.hidden = writing;
  stopButton.hidden = !writing;
  sendButton.disabled = preparing;
  sendButton.toggleAttribute('aria-busy', preparing);
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

// Enter sends, Shift and Enter makes a new line, the up arrow brings the last question back, Escape stops.
export function listen({ onAsk, onStop, lastQuestion }) {
  form.addEventListener('submit', (event) => { event.preventDefault(); onAsk(input.value, provider.value); });
  stopButton.addEventListener('click', onStop);
  input.addEventListener('keydown', (event) => {
    if (event.isComposing) return;
    if (event.key === 'Enter' && !event.shiftKey) { event.preventDefault(); form.requestSubmit(); }
    if (event.key === 'ArrowUp' && !input.value) { event.preventDefault(); input.value = lastQuestion(); }
  });
  document.addEventListener('keydown', (event) => {
    if (event.key === 'Escape' && !document.querySelector('dialog[open]')) onStop();
  });
  document.addEventListener('submit', (event) => {
    if (!event.target.matches('[data-retry]')) return;
    event.preventDefault();
    onAsk(event.target.elements.text.value, event.target.elements.provider.value);
  });
}
