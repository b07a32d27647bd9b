// The moderators' desk by keyboard: j and k walk the queue, a letter prepares a decision, Ctrl+Enter does it.
import { shortcutsOn } from "./palette.js";
import { t } from "./words.js";

const form = document.querySelector("[data-deciding]");
const reason = form?.querySelector("[name=reason]");
let chosen = null;

// What is often said fills both texts, as the server would: not over somebody's own words.
const often = form?.querySelector("[name=template]");
const texts = () => {
  const { reason: why = "", public: said = "" } = often.selectedOptions[0].dataset;
  return { reason: why, public_text: said };
};
let filled = often && texts();
often?.addEventListener("change", () => {
  const now = texts();
  for (const [name, text] of Object.entries(now)) {
    const field = form.elements[name];
    if (!field.value.trim() || field.value === filled[name]) field.value = text;
  }
  filled = now;
});

function prepare(button) {
  chosen = button;
  form.querySelector("[data-pending]").textContent = t("{act}: say why, then press Ctrl and Enter.", { act: button.textContent });
  reason.focus();
}

function walk(step) {
  const links = [...document.querySelectorAll(".queue a")];
  const here = links.findIndex((link) => link.getAttribute("aria-current"));
  links[here + step]?.click();
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && chosen && form.contains(event.target)) {
    event.preventDefault();
    form.requestSubmit(chosen);
    return;
  }
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, textarea, select, dialog, [contenteditable]")) return;
  if (!shortcutsOn()) return;
  const button = form?.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
  if (event.key === "j" || event.key === "k") walk(event.key === "j" ? 1 : -1);
  else if (event.key === "?") document.querySelector("[data-keys]")?.click();
  else if (button) prepare(button);
  else return;
  // The site's own keys (next row, list of shortcuts) mean something else here.
  event.preventDefault();
  event.stopImmediatePropagation();
}, { capture: true });

document.querySelector("[data-keys]")?.removeAttribute("hidden");
