// What every page shares. Pieces are found by data- attributes, also in what htmx swaps in later.
import { startCopying } from "./copy.js";
import { startCountdowns } from "./countdown.js";
import { startFreshness } from "./freshness.js";
import { startLive } from "./live.js";
import { startPalette } from "./palette.js";
import { startTheme } from "./theme.js";
import { startTime } from "./time.js";
import { warn } from "./toast.js";
import { t } from "./words.js";

startTheme();
startTime();
startCopying();
startCountdowns();
startFreshness();
startLive();
startPalette();

// Tabs that do not fit scroll to the open one. By scrollIntoView the first Tab would begin there.
for (const tab of document.querySelectorAll(".tabs [aria-current]")) {
  const beyond = tab.getBoundingClientRect().right - tab.parentElement.getBoundingClientRect().right;
  if (beyond > 0) tab.parentElement.scrollLeft += beyond;
}

// Native dialogs: open, close, and give the focus back.
document.addEventListener("click", (event) => {
  const opener = event.target.closest?.("[data-opens]");
  if (opener) {
    const dialog = document.getElementById(opener.dataset.opens);
    dialog?.showModal();
    // In Safari a click gives a button no focus to come back to. "close" comes late: who went on by then stays.
    dialog?.addEventListener("close", () => document.activeElement === document.body && opener.focus(), { once: true });
  }
  event.target.closest?.("[data-closes]")?.closest("dialog")?.close();
});

// Menus close when one goes elsewhere.
document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("[data-menu][open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of document.querySelectorAll("[data-menu][open]")) {
    menu.open = false;
    event.preventDefault(); // this is what it was for
    menu.querySelector("summary")?.focus();
  }
});

// Filters that ask for nothing stay out of the URL.
document.body.addEventListener("htmx:configRequest", (event) => {
  if (!event.detail.elt.matches("[data-short-url]")) return;
  for (const field of event.detail.elt.elements) {
    if (field.name && field.value === "") delete event.detail.parameters[field.name];
  }
});

// A fragment that could not be fetched; what was shown stays. The footer says its own (freshness.js).
for (const failure of ["htmx:responseError", "htmx:sendError", "htmx:timeout"]) {
  document.body.addEventListener(failure, (event) => {
    const { elt, xhr, requestConfig } = event.detail;
    if (["freshness", "waiting"].includes(elt?.id)) return;
    // A form that is older than the session goes once more as a page, which keeps what was typed.
    const sent = requestConfig?.triggeringEvent?.type === "submit";
    if (xhr?.status === 403 && sent) return elt.submit();
    const [id, seconds] = ["X-Request-ID", "Retry-After"].map((name) => xhr?.getResponseHeader?.(name));
    const text = [sent ? t("This was not answered; what you typed is still here.") : t("This part could not be refreshed; what you see is the earlier state.")];
    if (seconds) text.push(t("Try again in {seconds} s.", { seconds }));
    if (id) text.push(t("Request id {id}.", { id }));
    warn(text.join(" "), sent ? undefined : text[0]);
  });
}
