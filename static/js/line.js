// A websocket that comes back by itself. Not while the page is hidden: it would answer nobody.

// accounts/sockets.py: the session is over, and the same cookie opens nothing more.
export const SIGNED_OUT = 4401;
const FIRST_WAIT = 1000;
const LONGEST_WAIT = 60000;
const TOO_MANY = 4429;
const LOOK_EVERY = 20000;
// Timers of a page in the background come once a minute.
const ASLEEP = 150000;

// Calls `done` once the computer has slept, until the returned function is called. A connection that died meanwhile looks
// open for ever to a page that only listens: nothing is sent over it that would come back as undeliverable.
export function afterSleep(done) {
  let looked = Date.now();
  const clock = setInterval(() => {
    const slept = Date.now() - looked > ASLEEP;
    looked = Date.now();
    if (slept) done();
  }, LOOK_EVERY);
  return () => clearInterval(clock);
}

export const address = (path) => location.origin.replace("http", "ws") + path;

// `onClose` is told the code and whether the connection had been made; where it answers true, this was the last one, as it
// is where the session ended: what the page shows is no longer for whoever looks at it.
export function openLine(path, { onOpen = () => {}, onMessage, onClose = () => false }) {
  let wait = FIRST_WAIT;

  function later() {
    const over = new AbortController();
    const again = () => {
      clearTimeout(timer);
      over.abort();
      connect();
    };
    const timer = setTimeout(again, wait * (1 + Math.random()));
    addEventListener("online", again, { signal: over.signal });
    wait = Math.min(wait * 2, LONGEST_WAIT);
  }

  function connect() {
    if (document.visibilityState !== "visible") {
      document.addEventListener("visibilitychange", connect, { once: true });
      return;
    }
    const socket = new WebSocket(address(path));
    let opened = false;
    const awake = afterSleep(() => socket.close());
    socket.addEventListener("open", () => {
      opened = true;
      onOpen(socket);
    });
    socket.addEventListener("message", (event) => {
      wait = FIRST_WAIT;
      onMessage(JSON.parse(event.data));
    });
    socket.addEventListener("close", ({ code }) => {
      awake();
      if (code === SIGNED_OUT) {
        document.dispatchEvent(new Event("session:ended"));
        return;
      }
      if (onClose(code, opened)) return;
      if (code === TOO_MANY) wait = LONGEST_WAIT;
      later();
    });
  }

  connect();
}
