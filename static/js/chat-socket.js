// One conversation's websocket: reconnects by itself and tells `onOpen` so that nothing is lost or sent twice.
const FIRST_DELAY = 400;
const LONGEST_DELAY = 8000;
// The server's final words: reconnecting would not help (see inference/consumers.py).
const FINAL = { 4400: 'The server did not understand this page. Reload it.', 4401: 'You are signed out. Sign in again.', 4429: 'Too many messages. Wait a little, then reload.' };

export class ChatSocket {
  constructor(base, { onOpen, onMessage, onLost, onEnd }) {
    Object.assign(this, { base, onOpen, onMessage, onLost, onEnd, delay: FIRST_DELAY, refused: 0 });
  }

  open(chat) {
    this.chat = chat;
    const scheme = location.protocol === 'https:' ? 'wss:' : 'ws:';
    const socket = new WebSocket(`${scheme}//${location.host}${this.base}${chat}`);
    let opened = false;
    socket.addEventListener('open', () => {
      opened = true;
      this.socket = socket;
      this.delay = FIRST_DELAY;
      this.refused = 0;
      this.onOpen();
    });
    socket.addEventListener('message', (event) => this.onMessage(JSON.parse(event.data)));
    socket.addEventListener('close', (event) => {
      this.socket = null;
      if (FINAL[event.code]) { this.onEnd(FINAL[event.code]); return; }
      // Never let in, several times over: signed out elsewhere, or not this person's conversation.
      if (!opened && (this.refused += 1) > 6) { this.onEnd('This page has no connection to the server. Reload it.'); return; }
      this.onLost();
      setTimeout(() => this.open(chat), this.delay);
      this.delay = Math.min(this.delay * 2, LONGEST_DELAY);
    });
  }

  // False while there is no connection: `onOpen` follows and sends what is still owed.
  send(message) {
    if (this.socket?.readyState !== WebSocket.OPEN) return false;
    this.socket.send(JSON.stringify(message));
    return true;
  }
}
