// Live pages: /ws/live says which providers changed; the page offers to show it. Rows never jump by themselves.
// Messages carry no facts (ledger/topics.py). On opening, the page says of which block it is: changes since then are told.
import { openLine } from "./line.js";
import { heed } from "./toast.js";

const SETTLE = 1000;
const FOOTER_EVERY = 3000;
const TRY_AGAIN = 1012;
const MOST_SHOWN = 200;
// One connection that fails may be a server that begins anew; more of them are worth a word.
const FAILURES = 2;

let seen = -1;
let footerAt = 0;
let failures = 0;

function refreshFooter() {
  if (document.visibilityState !== "visible" || Date.now() - footerAt < FOOTER_EVERY) return;
  footerAt = Date.now();
  window.htmx?.trigger("#freshness", "live");
}

// Where none is chosen, the name is empty.
const shown = () => new Set([...document.querySelectorAll("[data-provider]")].map((row) => row.dataset.provider).filter(Boolean));

function hear(message) {
  seen = Math.max(seen, message.block);
  refreshFooter();
  document.dispatchEvent(new CustomEvent("live:block", { detail: message }));
  const here = shown();
  const touched = message.more || message.providers?.some((provider) => here.has(provider));
  // Sums of the whole network change with every row.
  const any = message.more || message.users?.length || message.providers?.length;
  for (const notice of document.querySelectorAll("[data-live]")) {
    // One account's page: what happens to others at the same providers is not its news.
    const account = notice.dataset.account;
    const listed = "listings" in notice.dataset && message.listings?.length;
    if (account ? message.more || message.users?.includes(account) : touched || listed || (any && "every" in notice.dataset)) tell(notice);
  }
}

// A page that can show the news by itself says so by preventing the default.
function tell(notice) {
  if (notice.dispatchEvent(new CustomEvent("live:news", { bubbles: true, cancelable: true }))) notice.hidden = false;
  heed();
}

function greet(socket) {
  const accounts = [...document.querySelectorAll("[data-live][data-account]")].map((notice) => notice.dataset.account);
  const users = [...new Set(accounts)].slice(0, MOST_SHOWN);
  const listings = Boolean(document.querySelector("[data-live][data-listings]"));
  socket.send(JSON.stringify({ block: seen, providers: [...shown()].slice(0, MOST_SHOWN), users, listings }));
}

function count(number) {
  failures = number;
  for (const banner of document.querySelectorAll("[data-live-off]")) banner.hidden = failures < FAILURES;
  heed();
}

function closed(code, opened) {
  if (!opened || code === TRY_AGAIN) count(failures + 1);
}

function connect() {
  const greeting = (socket) => {
    count(0);
    greet(socket);
  };
  openLine("/ws/live", { onOpen: greeting, onMessage: hear, onClose: closed });
}

function reload(notice) {
  if (!notice.dispatchEvent(new CustomEvent("live:show", { bubbles: true, cancelable: true }))) return;
  if (!notice.dataset.target) return location.reload();
  window.htmx.ajax("GET", location.pathname + location.search, { target: notice.dataset.target, swap: "innerHTML" });
}

export function startLive() {
  if (!document.querySelector("[data-live]")) return;
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-live-reload]");
    if (button) reload(button.closest("[data-live]"));
  });
  // Before the footer refreshes itself: the block of the rows on this page.
  seen = Number.parseInt(document.querySelector("#freshness")?.dataset.block || "-1", 10);
  // Nothing is worth a socket on a page that is left at once.
  setTimeout(connect, SETTLE);
}
