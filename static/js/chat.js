// The playground's chat: composer, key, socket and thread put together. Everything shown comes from the server.
import { acceptedSigner, choose, edit, fail, form, how, input, listen, lost, missing, offerSigner, passed, provider, ready, refresh, show } from './chat-composer.js';
import { startEstimates } from './chat-estimate.js';
import { signInFirst, startDraft } from './draft.js';
import { startFilling } from './chat-fill.js';
import { ChatSocket } from './chat-socket.js';
import { back, had, named, reading, startPictures, take } from './chat-pictures.js';
import { speak } from './chat-reading.js';
import { Thread } from './chat-thread.js';
import { ensureKey } from './providerkey.js';
import { Refusal, send } from './wallet-http.js';
import { t, tn } from './words.js';

const root = document.getElementById('chat');
const title = document.getElementById('chat-title');
const status = document.querySelector('[data-status]');
const thread = new Thread();
const owed = new Map(); // prompt key → {message, element}: asked, not yet confirmed
// What was given up unconfirmed may have arrived all the same: asked for again, it goes with the same key.
const tried = new Map(); // wish → prompt key
const wish = ({ key, accept_signer, ...rest }) => JSON.stringify(rest);
let preparing = false;
let stopping = false; // pressed, and maybe not heard: there was no connection, or no answer yet

const LONGEST_START = 30000;
const TOO_EARLY = t('An answer is still being written. Wait for it, or stop it.');
const ended = (state, tokens, calls) => {
  if (state !== 'answered') return t('The answer ended early.');
  if (calls) return tn('The answer calls {n} function: give its result, or ask on in words.', 'The answer calls {n} functions: give their results, or ask on in words.', calls);
  return tokens ? tn('Answer complete, {n} token.', 'Answer complete, {n} tokens.', tokens) : t('Answer complete.');
};
const writing = () => owed.size > 0 || thread.open().length > 0;
const update = () => {
  show({ writing: writing(), preparing });
  document.getElementById('turns').setAttribute('aria-busy', writing());
};

const socket = new ChatSocket(root.dataset.socket, {
  onFound() { lost(false); },
  onTry() {
    for (const [turn, after] of thread.open()) socket.send({ type: 'resume', turn, after });
    for (const { message } of owed.values()) socket.send(message); // the same key is the same turn
    if (stopping) stop();
  },
  onLost() { lost(writing(), owed.size > 0); },
  onEnd(sentence) {
    lost(false);
    // Nobody confirmed it: in the composer it outlives a reload.
    for (const key of [...owed.keys()]) handlers.error({ key, code: 'unsent', sentence });
    fail(sentence);
  },
  onMessage(message) { handlers[message.type]?.(message); },
});

const handlers = {
  turn({ key, turns, refused }) {
    const entry = owed.get(key);
    if (!entry) return; // asked twice over a line that broke, and answered twice
    owed.delete(key);
    tried.delete(wish(entry.message));
    if (input.value === entry.message.text) input.value = ''; // left here for a draft
    thread.begun(entry.element, turns);
    if (stopping) stop();
    fail(refused ? t('The second provider was not asked: {why}', { why: refused }) : '');
    if ('untitled' in title.dataset) {
      delete title.dataset.untitled;
      title.textContent = entry.message.text.trim().slice(0, 80);
      document.title = `${title.textContent} · 0G Market`;
      around();
    }
    offerSigner();
    update();
  },
  delta({ turn, seq, text }) { thread.delta(turn, seq, text); },
  block({ turn, seq, upto, html }) { thread.block(turn, seq, upto, html); },
  reasoning({ turn, seq, text }) { thread.reasoning(turn, seq, text); },
  call({ turn, seq, name }) { thread.call(turn, seq, name); },
  arguments({ turn, seq, text }) { thread.argument(turn, seq, text); },
  async end({ turn, state, tokens, calls }) {
    speak(turn, '', true);
    thread.ended(turn);
    await thread.refresh(turn);
    update();
    if (writing()) return; // the other column announces the end
    stopping = false;
    passed(TOO_EARLY);
    status.textContent = ended(state, tokens, calls);
    refresh();
    estimate();
    around();
  },
  verdict({ turn }) { thread.refresh(turn); },
  error({ key, code, sentence, signer, href }) {
    const entry = owed.get(key);
    if (!entry) return;
    owed.delete(key);
    tried.set(wish(entry.message), key);
    if (!writing()) {
      stopping = false; // no answer comes of it: the next one is not this one
      lost(false);
    }
    thread.undo(entry.element);
    const { text, again } = entry.message;
    const edits = again && text && !input.value;
    if (!input.value) input.value = text;
    if (edits) edit(again, text);
    back(entry.pictures.filter((picture) => edits || !picture.had));
    estimate();
    offerSigner(signer);
    fail(sentence, href);
    if (code === 'went_on') renew();
    else if (code !== 'busy') refresh();
    update();
  },
};

// What stands around the thread: the list of conversations, and what can be done with this one (not while that is open).
async function around() {
  const response = await fetch(location.pathname, { credentials: 'same-origin' }).catch(() => null);
  if (!response?.ok) return null;
  const fresh = new DOMParser().parseFromString(await response.text(), 'text/html');
  for (const part of ['.conversations', '[data-acts]']) {
    const old = document.querySelector(part);
    const made = fresh.querySelector(part);
    if (made && !old.querySelector('[open]') && !old.contains(document.activeElement)) old.replaceWith(document.adoptNode(made));
  }
  return fresh;
}

// Asked in another window: that stands between what is shown here and the question.
async function renew() {
  const turns = (await around())?.getElementById('turns');
  if (!turns || writing()) return;
  thread.renew(turns);
  for (const [turn, after] of thread.open()) socket.send({ type: 'resume', turn, after });
  update();
}

// A conversation of its own, once there is something to ask.
async function start(provider) {
  const fields = new URLSearchParams({ provider, keep: form.elements.keep?.checked ? 'no' : '' });
  const answer = await send('POST', root.dataset.start, fields, {}, AbortSignal.timeout(LONGEST_START));
  if (!answer.id) throw new Refusal(answer, 200); // of something before the site
  root.dataset.chat = answer.id;
  form.elements.keep?.closest('label').remove();
  history.replaceState(null, '', answer.path);
  socket.open(answer.id);
}

let starting = null; // a picture and a question may both need the conversation
async function conversation() {
  if (!root.dataset.chat) await (starting ??= start(provider.value).finally(() => { starting = null; }));
  return root.dataset.chat;
}

// `at`: the provider that is asked, the chosen one where none is named; `written`: in the composer; `results`: of the functions
// that turn `called` asks for.
async function ask({ text, again = null, called = null, results = [], at = provider.value, written = false }) {
  if (preparing || !(text.trim() || again || called)) return;
  if (writing()) { fail(TOO_EARLY); return; }
  if (reading()) { fail(t('A picture is still being read. Wait a moment.')); return; }
  if (signInFirst()) return;
  fail('');
  preparing = true;
  stopping = false;
  update();
  try {
    if (at !== provider.value) await choose(at);
    if (!ready(at)) throw new Error(missing());
    if ((await ensureKey(at)).made) refresh(); // the note that a key is needed is old now
    const { also } = how();
    if (also && also !== at) await ensureKey(also);
    await conversation();
    const pictures = written ? take() : []; // asking once more takes the pictures along by itself
    const message = {
      type: 'prompt',
      key: crypto.randomUUID(),
      text,
      provider: at,
      again,
      ...(called && { called, results }),
      seen: thread.last(),
      ...how(),
      accept_signer: acceptedSigner(),
      ...(written && named(pictures)),
    };
    message.key = tried.get(wish(message)) ?? message.key;
    owed.set(message.key, { message, pictures, element: thread.begin(text, again, pictures, called, results) });
    if (input.value === text) input.value = '';
    edit(0);
    estimate();
    socket.send(message);
  } catch (error) {
    fail(error.message);
  } finally {
    preparing = false;
    update();
  }
}

function stop() {
  stopping = writing();
  for (const [turn] of thread.open()) socket.send({ type: 'stop', turn });
}

function editTurn(turn) {
  if (!turn || writing()) return;
  edit(turn, thread.question(turn));
  had(thread.pictures(turn));
}

listen({ onAsk: ask, onStop: stop, onEdit: editTurn, onEditLast: () => editTurn(thread.last()) });
// Asked and not confirmed as the page is left: it may not have arrived.
addEventListener('pagehide', () => { for (const { message } of owed.values()) input.value ||= message.text; });
startDraft(input, () => root.dataset.chat); // a new conversation gets its name with its first question
const question = thread.question(thread.last()).trim();
if (input.value !== input.defaultValue && input.value.trim() === question) input.value = ''; // it had arrived
const estimate = startEstimates();
startPictures(conversation);
startFilling();
if (root.dataset.chat) socket.open(root.dataset.chat);
update();
