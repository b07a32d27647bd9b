// One conversation's line to the server: a websocket that reconnects by itself; where a network lets none through, forms
// to ask and server-sent events to watch. `onOpen` is told each time, so that nothing is lost or sent twice.
import { SIGNED_OUT, address, afterSleep } from './line.js';
import { send } from './wallet-http.js';
import { t } from './words.js';

const FIRST_DELAY = 400;
const LONGEST_DELAY = 8000;
// Only a connection that stayed, or said something, was one: a server that takes each and closes it is asked ever less, too.
const STEADY = 10000;
const TRIES_BEFORE_PLAIN = 3;
const TRIES = 20;
// The server's final words: reconnecting would not help (see inference/consumers.py).
const FINAL = {
  4400: t('The server did not understand this page. Reload it.'),
  [SIGNED_OUT]: t('You are signed out. Sign in again.'),
  4429: t('Too many messages or open pages. Wait a little, then reload.'),
};

export class ChatSocket {
  constructor(base, { onOpen, onMessage, onLost, onEnd }) {
    Object.assign(this, { base, onOpen, onMessage, onLost, onEnd, delay: FIRST_DELAY, refused: 0, opened: false });
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
      this.onOpen();
    });
    socket.addEventListener('message', (event) => {
      hold();
      this.onMessage(JSON.parse(event.data));
    });
    socket.addEventListener('close', (event) => {
      awake();
      clearTimeout(steady);
      this.socket = null;
      if (FINAL[event.code]) { this.onEnd(FINAL[event.code]); return; }
      if (!held && navigator.onLine) this.refused += 1; // without a network nobody has refused anything
      // Never let in, from the first moment on: this network has no websockets.
      if (!this.opened && this.refused >= TRIES_BEFORE_PLAIN) { this.plain = new PlainLine(this); this.onOpen(); return; }
      if (this.refused > TRIES) { this.onEnd(t('This page has no connection to the server. Reload it.')); return; }
      this.onLost();
      setTimeout(() => this.open(chat), this.delay);
      this.delay = Math.min(this.delay * 2, LONGEST_DELAY);
    });
  }

  // False while there is no connection: `onOpen` follows and sends what is still owed.
  send(message) {
    if (this.plain) { this.plain[message.type](message); return true; }
    if (this.socket?.readyState !== WebSocket.OPEN) return false;
    this.socket.send(JSON.stringify(message));
    return true;
  }
}

// The same messages without a websocket (inference/views.py `send`, views_turns.py `events`).
class PlainLine {
  constructor(line) {
    Object.assign(this, { line, streams: new Map() });
    afterSleep(() => line.onOpen());
  }

  post(path, fields = {}) {
    return send('POST', `/playground/chat/${path}`, new URLSearchParams(fields));
  }

  async prompt({ key, options, type, results = [], ...message }) {
    // What a message leaves open does not go along; an emptied setting is one too.
    const given = Object.entries({ ...message, key }).filter(([, value]) => value !== null && value !== false && value !== '');
    const fields = Object.entries({ ...options, ...Object.fromEntries(given) });
    for (const text of results) fields.push(['result', text]);
    try {
      const said = await this.post(`${this.line.chat}/send`, fields);
      this.line.onMessage({ type: 'turn', key, turn: said.turns[0], turns: said.turns, refused: said.refused });
      for (const turn of said.turns) this.resume({ turn, after: 0 });
    } catch (error) {
      const { code = 'unsent', signer, href } = error.problem ?? {};
      this.line.onMessage({ type: 'error', key, code, sentence: error.message, signer, href });
    }
  }

  stop({ turn }) { this.post(`turns/${turn}/stop`).catch(({ message }) => this.line.onEnd(message)); }

  resume({ turn, after }) {
    this.streams.get(turn)?.close();
    const stream = new EventSource(`/playground/chat/turns/${turn}/events?after=${after}`);
    this.streams.set(turn, stream);
    stream.addEventListener('message', (event) => {
      const said = JSON.parse(event.data);
      this.line.onMessage({ turn, seq: Number(event.lastEventId), ...said });
      if (said.type === 'verdict') stream.close();
    });
    stream.addEventListener('error', () => {
      if (stream.readyState === EventSource.CLOSED) this.line.onEnd(t('This page has no connection to the server. Reload it.'));
    });
  }
}
