// The bell: /ws/inbox says how many messages are unread; nothing else travels there.
import { t } from "./words.js";
const LONGEST_WAIT = 60000;
const SIGNED_OUT = 4401;
const MOST = 100;
let wait = 1000;

function show(bell, unread) {
  const more = unread > Number(bell.dataset.unread);
  const shown = unread >= MOST ? `${MOST - 1}+` : String(unread || "");
  bell.dataset.unread = unread;
  bell.querySelector(".tally").textContent = shown;
  bell.setAttribute("aria-label", unread ? t("Inbox, {shown} unread", { shown }) : t("Inbox"));
  if (more) document.dispatchEvent(new CustomEvent("announce", { detail: { text: t("{shown} unread in your inbox", { shown }) } }));
}

function connect(bell) {
  if (document.visibilityState !== "visible") {
    document.addEventListener("visibilitychange", () => connect(bell), { once: true });
    return;
  }
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const socket = new WebSocket(`${scheme}://${location.host}/ws/inbox`);
  socket.addEventListener("message", (event) => {
    wait = 1000;
    show(bell, JSON.parse(event.data).unread);
  });
  socket.addEventListener("close", (event) => {
    if (event.code === SIGNED_OUT) return;
    setTimeout(() => connect(bell), wait * (1 + Math.random()));
    wait = Math.min(wait * 2, LONGEST_WAIT);
  });
}

const bell = document.getElementById("bell");
if (bell) connect(bell);
