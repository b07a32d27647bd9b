// The bell: /ws/inbox says how many messages are unread; nothing else travels there.
import "./ending.js";
import { openLine } from "./line.js";
import { announce } from "./toast.js";
import { t } from "./words.js";

const NOT_UNDERSTOOD = 4400;
const MOST = 100;
const bell = document.getElementById("bell");

function show({ unread }) {
  const more = unread > Number(bell.dataset.unread);
  const shown = unread >= MOST ? `${MOST - 1}+` : String(unread || "");
  bell.dataset.unread = unread;
  bell.querySelector(".tally").textContent = shown;
  bell.setAttribute("aria-label", unread ? t("Inbox, {shown} unread", { shown }) : t("Inbox"));
  if (more) announce(t("{shown} unread in your inbox", { shown }));
}

// On every page of somebody who is signed in: by it each hears that the session ended (line.js), and is emptied (ending.js).
if (bell) openLine("/ws/inbox", { onMessage: show, onClose: (code) => code === NOT_UNDERSTOOD });
