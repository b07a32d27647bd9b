// A task's page: news come by /ws/tasks/ID and are fetched as they are shown; acts are signed by the wallet.
import { markup, post } from "./wallet-http.js";
import { openLine } from "./line.js";
import { oneAtATime } from "./timing.js";
import { ensureKey } from "./providerkey.js";
import { acting, reload } from "./reload.js";
import { signed } from "./tuning-wallet.js";
import { announce } from "./toast.js";
import { t } from "./words.js";

const page = document.getElementById("task");
const here = `/fine-tuning/tasks/${page.dataset.task}`;
let stale = false;
let busy = false;

// The log stays at its end only for whoever is there.
function atEnd(log) { return log && log.scrollHeight - log.scrollTop - log.clientHeight < 40; }

const refresh = oneAtATime(async () => {
  if (document.visibilityState !== "visible") { stale = true; return; }
  stale = false;
  const level = new URLSearchParams(location.search).get("level") ?? "";
  const text = await markup(`${here}?part=body&level=${encodeURIComponent(level)}`, { "HX-Request": "true" });
  const next = new DOMParser().parseFromString(text, "text/html").getElementById("task-body");
  if (!next) return;
  const body = document.getElementById("task-body");
  const log = body.querySelector(".log");
  const [end, top] = [atEnd(log), log?.scrollTop ?? 0];
  const [before, after] = [body, next].map((part) => part.querySelector("[data-testid=task-progress]").dataset.progress);
  if (before !== after) announce(t("The task is at {stage}", { stage: after }));
  // A review, a chart or buttons that were not there come with the whole page. To acknowledge is the next step once
  // the result has been checked.
  if (next.querySelector(".checklist > [data-done=yes]")) document.querySelector("#review [data-testid=tx-confirm]")?.classList.add("primary");
  if (before !== after || (!body.querySelector(".chart") && next.querySelector(".chart"))) {
    if (page.dataset.busy === "no") reload();
  }
  // A chart that is drawn already stays, unless there is more to draw.
  const [drawn, chart] = [body, next].map((part) => part.querySelector(".chart"));
  const more = drawn && chart && drawn.querySelector("tbody").textContent !== chart.querySelector("tbody").textContent;
  if (drawn && chart && !more) chart.replaceWith(drawn);
  for (const open of body.querySelectorAll("details[open] > summary")) {
    [...next.querySelectorAll("summary")].find((one) => one.textContent === open.textContent)?.parentElement.setAttribute("open", "");
  }
  body.replaceWith(next);
  if (more) chart.dispatchEvent(new CustomEvent("chart:new", { bubbles: true }));
  const now = next.querySelector(".log");
  if (now) now.scrollTop = end ? now.scrollHeight : top;
  window.htmx?.process(next);
});

// What is said stands where the line is by then: news replace it, and with them what it said before.
async function act(line, work) {
  if (busy) return;
  busy = true;
  const say = (text) => {
    const place = page.querySelector(line);
    if (place) place.textContent = text;
  };
  try { await acting(() => work(say)); } catch (error) { say(error.message); }
  busy = false;
}

page.addEventListener("click", (event) => {
  const fetcher = event.target.closest("[data-fetch]");
  if (fetcher) {
    act("[data-fetch-status]", async (say) => {
      const proof = fetcher.dataset.fetch === "storage" ? { from: "storage" } : await signed(`${here}/fetch`, t("Fetch this result"), t("Fetch it"));
      if (!proof) { say(t("You declined. Nothing was fetched.")); return; }
      await post(`${here}/fetch`, proof);
      await refresh();
    });
  }
  const deployer = event.target.closest("[data-deploy]");
  if (deployer) {
    act("[data-deploy-status]", async (say) => {
      const { deploy: provider, service } = deployer.dataset;
      await ensureKey(provider, service);
      say(t("The provider is asked…"));
      await post(`${here}/deploy`, { provider });
      await refresh();
    });
  }
  if (event.target.closest("[data-cancel]")) {
    act("[data-act-status]", async (say) => {
      const proof = await signed(`${here}/cancel`, t("Cancel this task"), t("Cancel the task"));
      if (!proof) { say(t("You declined. The task goes on.")); return; }
      await post(`${here}/cancel`, { signature: proof.signature });
      location.reload();
    });
  }
});

document.addEventListener("visibilitychange", () => { if (stale) refresh(); });
document.addEventListener("tx:changed", (event) => { if (["indexed", "final"].includes(event.detail.state)) reload(); });
const log = page.querySelector(".log");
if (log) log.scrollTop = log.scrollHeight;
if (page.dataset.ended === "no" || page.querySelector("[data-fetch-status], [data-deploy-status]")) {
  // Something may have happened between the page and its socket. What the server ends with a code of its own has no more news.
  openLine(`/ws/tasks/${page.dataset.task}`, { onOpen: refresh, onMessage: refresh, onClose: (code) => code >= 4400 });
}
