// The wizard's last page: send the dataset, then create the task.
import { get, post } from "./wallet-http.js";
import { reload } from "./reload.js";
import { pause, pressed } from "./timing.js";
import { signed } from "./tuning-wallet.js";
import { t } from "./words.js";

function guarded(button, line, work) {
  const say = (text) => { line.textContent = text; };
  return pressed(button, () => work(say)).catch((error) => say(error.message));
}

const sending = document.querySelector("[data-send]");
async function follow(say) {
  const bar = sending.querySelector("[data-send-progress]");
  for (;; await pause(1000)) {
    let found;
    // It goes on, whether this page hears of it or not.
    try { found = await get(`${sending.dataset.send}/sending`); } catch (error) { say(error.message); continue; }
    if (found.state === undefined) continue; // an answer, but not our server's
    if (found.state === "there") { reload(); return; }
    if (found.state === "failed" || !found.state) { bar.hidden = true; say(found.error || t("Nothing was sent.")); return; }
    bar.hidden = false;
    bar.value = found.size ? found.sent / found.size : 0;
    say(t("On its way: {percent} %. It goes on if you leave this page.", { percent: Math.round(bar.value * 100) }));
  }
}

const go = sending?.querySelector("[data-send-go]");
go?.addEventListener("click", () => guarded(go, sending.querySelector("[data-send-status]"), async (say) => {
  const proof = await signed(`${sending.dataset.send}/upload`, t("Send this dataset to the provider"), t("Send it"));
  if (!proof) { say(t("You declined. Nothing was sent.")); return; }
  await post(`${sending.dataset.send}/upload`, proof);
  await follow(say);
}));
if (["waiting", "sending"].includes(go?.dataset.state)) guarded(go, sending.querySelector("[data-send-status]"), follow);

const creating = document.querySelector("[data-create]");
const create = creating?.querySelector("[data-create-go]");
const choice = creating?.querySelector("[data-busy-choice]");
// Where the provider is busy the person decides, with the signature that there is.
function offer(queueing) { choice.hidden = !queueing; create.hidden = queueing; }
let proof = null; // the settings are not signed, so a refused task can be queued with the same signature

async function handIn(say, wait) {
  say(t("The provider is asked…"));
  offer(false);
  try {
    location.assign((await post(creating.dataset.create, { ...proof, wait })).url);
  } catch (error) {
    offer(error.reason === "provider_busy");
    throw error;
  }
}
const line = creating?.querySelector("[data-create-status]");
create?.addEventListener("click", () => guarded(create, line, async (say) => {
  proof = await signed(creating.dataset.create, t("Create this task"), t("Create the task"));
  if (!proof) { say(t("You declined. No task was created.")); return; }
  await handIn(say, false);
}));
choice?.querySelector("[data-queue]").addEventListener("click", (event) => guarded(event.currentTarget, line, (say) => handIn(say, true)));
choice?.querySelector("[data-leave]").addEventListener("click", () => { offer(false); line.textContent = t("No task was created. The draft stays."); });
