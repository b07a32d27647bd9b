// The playground's chat: composer, key, socket and thread put together. Everything shown comes from the server.
import { ChatSocket } from './chat-socket.js';
import { Thread } from './chat-thread.js';
import { ensureKey } from './providerkey.js';

const root = document.getElementById('chat');
const form = document.getElementById('composer');
const input = form.elements.text;
const provider = form.elements.provider;
const sendButton = form.querySelector('[data-send]');
const stopButton = form.querySelector('[data-stop]');
const offline = form.querySelector('[data-offline]');
const acceptBox = form.querySelector('[data-accept]');
const errorBox = form.querySelector('[data-error]');
const title = document.getElementById('chat-title');
const status = document.querySelector('[data-status]');
const thread = new Thread();
const owed = new Map(); // prompt key → {message, element}: asked, not yet confirmed
let preparing = false;

const socket = new ChatSocket(root.dataset.socket, {
  onOpen() {
    offline.hidden = true;
    for (const [turn, after] of thread.open()) socket.send({ type: 'resume', turn, after });
    for (const { message } of owed.values()) socket.send(message); // the same key is the same turn
  },
  onLost() { offline.hidden = !(owed.size || thread.open().length); },
  onEnd(sentence) { offline.hidden = true; fail(sentence); },
  onMessage(message) { handlers[message.type]?.(message); },
});

const handlers = {
  turn({ key, turn }) {
    const entry = owed.get(key);
    owed.delete(key);
    if (entry) thread.adopt(turn, entry.element);
    accept();
    if (title.textContent === 'Chat' && entry) title.textContent = entry.message.text.trim().slice(0, 80);
    show();
  },
  delta({ turn, seq, text }) { thread.delta(turn, seq, text); },
  thinking({ turn }) { thread.thinking(turn); },
  async end({ turn, state, tokens }) {
    await thread.refresh(turn);
    status.textContent = state === 'answered' ? `Answer complete${tokens ? `, ${tokens} tokens` : ''}.` : 'The answer ended early.';
    show();
    window.htmx?.trigger(provider, 'refresh');
    window.htmx?.ajax('GET', location.pathname, { target: '.conversations', select: '.conversations', swap: 'outerHTML' });
  },
  verdict({ turn }) { thread.refresh(turn); },
  error({ key, code, sentence, signer }) {
    accept(signer);
    const entry = owed.get(key);
    owed.delete(key);
    if (entry) { entry.element.remove(); if (!input.value) input.value = entry.message.text; }
    fail(sentence);
    if (code !== 'busy') window.htmx?.trigger(provider, 'refresh');
    show();
  },
};

function fail(sentence) {
  errorBox.querySelector('[data-error-text]').textContent = sentence;
  errorBox.hidden = !sentence;
}

// A changed signing key is accepted by the person, for this key alone.
function accept(signer = '') {
  acceptBox.hidden = !signer;
  form.elements.accept_signer.value = signer;
  form.elements.accept_signer.checked = false;
}

// Send becomes Stop in the same place while an answer is written.
function show() {
  const writing = owed.size > 0 || thread.open().length > 0;
  sendButton.hidden = writing;
  stopButton.hidden = !writing;
  sendButton.disabled = preparing;
  sendButton.toggleAttribute('aria-busy', preparing);
}

async function start(address) {
  const response = await fetch(root.dataset.start, {
    method: 'POST',
    credentials: 'same-origin',
    headers: { Accept: 'application/json', 'X-CSRFToken': form.elements.csrfmiddlewaretoken.value },
    body: new URLSearchParams({ provider: address }),
  });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.title ?? `The server answered ${response.status}.`);
  root.dataset.chat = answer.id;
  history.replaceState(null, '', answer.path);
  socket.open(answer.id);
}

async function ask(text, address) {
  if (preparing || !text.trim()) return;
  fail(owed.size || thread.open().length ? 'An answer is still being written. Wait for it, or stop it.' : '');
  if (!errorBox.hidden) return;
  if (document.getElementById('gate').dataset.ready !== 'yes') { fail('One step is missing: see above.'); return; }
  preparing = true;
  show();
  try {
    await ensureKey(address);
    if (!root.dataset.chat) await start(address);
    const { checked, value } = form.elements.accept_signer;
    const message = { type: 'prompt', key: crypto.randomUUID(), text, provider: address, accept_signer: checked ? value : '' };
    owed.set(message.key, { message, element: thread.begin(text) });
    if (input.value === text) input.value = '';
    socket.send(message);
  } catch (error) {
    fail(error.message);
  } finally {
    preparing = false;
    show();
  }
}

function stop() { for (const [turn] of thread.open()) socket.send({ type: 'stop', turn }); }

form.addEventListener('submit', (event) => { event.preventDefault(); ask(input.value, provider.value); });
stopButton.addEventListener('click', stop);
document.addEventListener('submit', (event) => {
  if (!event.target.matches('[data-retry]')) return;
  event.preventDefault();
  ask(event.target.elements.text.value, event.target.elements.provider.value);
});
input.addEventListener('keydown', (event) => {
  if (event.isComposing) return;
  if (event.key === 'Enter' && !event.shiftKey) { event.preventDefault(); form.requestSubmit(); }
  if (event.key === 'ArrowUp' && !input.value) { event.preventDefault(); input.value = thread.lastQuestion(); }
});
document.addEventListener('keydown', (event) => { if (event.key === 'Escape' && !document.querySelector('dialog[open]')) stop(); });
const connect = document.querySelector('[data-wallet-connect]');
root.querySelector('[data-connect]')?.addEventListener('click', () => connect?.click());
root.querySelector('[data-connect]')?.toggleAttribute('hidden', !connect);
if (root.dataset.chat) socket.open(root.dataset.chat);
show();
