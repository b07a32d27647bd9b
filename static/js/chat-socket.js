// One conversation's line to the server: a websocket that reconnects by itself; where a network lets none through, forms
// to ask and server-sent events to watch. `onTry` is told each time, so that nothing is lost or sent twice.
import { SIGNED_OUT, address, afterSleep } from './line.js';
import { send } from './wallet-http.js';
import { t } from './words.js';

const FIRST_DELAY = 400;
const LONGEST_DELAY = 8000;
// Only a connection that stayed, or said something, was one: a server that takes each and closes it is asked ever less, too.
const STEADY = 10000;
const TRIES_BEFORE_PLAIN = 3;
const TRIES = 20;
const TRIES_ANSWERED = 5; // of what is answered, by an error
const LONGEST_ANSWER = 30000; // to a form, which a network may swallow
const UNREACHED = t('This page has no connection to the server. Reload it.');
// The server's final words: reconnecting would not help (see inference/consumers.py).
const FINAL = {
  4400: t('The server did not understand this page. Reload it.'),
  [SIGNED_OUT]: t('You are signed out. Sign in again.'),
  4429: t('Too many messages or open pages. Wait a little, then reload.'),
};

export class ChatSocket {
  constructor(base, { onFound, onTry, onMessage, onLost, onEnd }) {
    Object.assign(this, { base, onFound, onTry, onMessage, onLost, onEnd, delay: FIRST_DELAY, refused: 0, opened: false });
  }

  end(sentence) {
    this.over = true;
    this.onEnd(sentence);
  }

  open(chat) {
    this.chat = chat;
    const socket = new WebSocket(address(this.base + chat));
    const awake = afterSleep(() => socket.close());
    let steady;
    let held = false;
    const hold = () => {
      held = true;
      this.delay = FIRST_DELAY;
      this.refused = 0;
    };
    socket.addEventListener('open', () => {
      this.opened = true;
      this.socket = socket;
      steady = setTimeout(hold, STEADY);
      this.onFound();
      this.onTry();
    });
    socket.addEventListener('message', (event) => {
      hold();
      this.onMessage(JSON.parse(event.data));
    });
    socket.addEventListener('close', (event) => {
      awake();
      clearTimeout(steady);
      this.socket = null;
      if (FINAL[event.code]) { this.end(FINAL[event.code]); return; }
      if (!held && navigator.onLine) this.refused += 1; // without a network nobody has refused anything
      // Never let in, from the first moment on: this network has no websockets.
      if (!this.opened && this.refused >= TRIES_BEFORE_PLAIN) { this.plain = new PlainLine(this); this.onTry(); return; }
      if (this.refused > TRIES) { this.end(UNREACHED); return; }
      this.onLost();
      setTimeout(() => this.open(chat), this.delay);
      this.delay = Math.min(this.delay * 2, LONGEST_DELAY);
    });
  }

  // While there is no connection `onTry` follows and sends what is still owed. Whoever asks after the end tries once more.
  send(message) {
    if (this.plain) this.plain[message.type](message);
    else if (this.over) {
      Object.assign(this, { over: false, refused: 0, delay: FIRST_DELAY });
      this.open(this.chat);
    } else if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }
}

// Whether a request may have arrived all the same.
const unheard = ({ status }) => status === 0 || status >= 500;

// The same messages without a websocket (inference/views.py `send`, views_turns.py `events`). What had no answer is sent
// again: the same key is the same turn.
class PlainLine {
  constructor(line) {
    Object.assign(this, { line, streams: new Map(), delay: FIRST_DELAY, tries: 0 });
    afterSleep(() => line.onTry());
  }

  post(path, fields = {}) {
    return send('POST', `/playground/chat/${path}`, new URLSearchParams(fields), {}, AbortSignal.timeout(LONGEST_ANSWER));
  }

  found() {
    Object.assign(this, { delay: FIRST_DELAY, tries: 0 });
    this.line.onFound();
  }

  // Whether it is tried once more, in a moment.
  later(most = TRIES) {
    if (navigator.onLine) this.tries += 1;
    if (this.tries > most) { this.tries = 0; return false; }
    this.line.onLost();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.line.onTry(), this.delay);
    this.delay = Math.min(this.delay * 2, LONGEST_DELAY);
    return true;
  }

  async prompt({ key, options, type, results = [], ...message }) {
    // What a message leaves open does not go along; an emptied setting is one too.
    const given = Object.entries({ ...message, key }).filter(([, value]) => value !== null && value !== false && value !== '');
    const fields = Object.entries({ ...options, ...Object.fromEntries(given) });
    for (const text of results) fields.push(['result', text]);
    try {
      const said = await this.post(`${this.line.chat}/send`, fields);
      this.found();
      this.line.onMessage({ type: 'turn', key, turn: said.turns[0], turns: said.turns, refused: said.refused });
      for (const turn of said.turns) this.resume({ turn, after: 0 });
    } catch (error) {
      if (unheard(error) && this.later(error.status ? TRIES_ANSWERED : TRIES)) return;
      const { code = 'unsent', signer, href } = error.problem ?? {};
      this.line.onMessage({ type: 'error', key, code, sentence: error.message, signer, href });
    }
  }

  stop({ turn }) {
    this.post(`turns/${turn}/stop`).catch((error) => { if (!unheard(error) || !this.later()) this.line.onEnd(error.message); });
  }

  resume({ turn, after }) {
    this.streams.get(turn)?.close();
    const stream = new EventSource(`/playground/chat/turns/${turn}/events?after=${after}`);
    this.streams.set(turn, stream);
    stream.addEventListener('open', () => this.found());
    stream.addEventListener('message', (event) => {
      const said = JSON.parse(event.data);
      if (said.type === 'end') stream.close(); // the page looks for its verdict; a browser has few connections
      this.line.onMessage({ turn, seq: Number(event.lastEventId), ...said });
    });
    stream.addEventListener('error', () => {
      // Without any answer the browser tries again by itself.
      if (stream.readyState !== EventSource.CLOSED) this.line.onLost();
      else if (!this.later()) this.line.onEnd(UNREACHED);
    });
  }
}
