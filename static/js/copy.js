// Copy buttons: <button data-copy="text">, shown here where they are `hidden` without a script. Says "Copied" to eye and ear.
import { announce, warn } from "./toast.js";
import { t } from "./words.js";

const SHOWN = 1600;

async function write(text) {
  try {
    await navigator.clipboard.writeText(text);
    return;
  } catch { /* refused, or none outside https: then the older way */ }
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "visually-hidden";
  const before = document.activeElement;
  // What lies under a dialog cannot be selected.
  (document.querySelector("dialog[open]") ?? document.body).append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  before?.focus();
  if (!copied) throw new Error("not copied");
}

function showCopied(button) {
  if ("copied" in button.dataset) return; // pressed twice: what it said before is known to the first
  button.dataset.copied = "";
  const label = button.querySelector(".visually-hidden, [data-copy-label]");
  const before = label?.textContent;
  const use = button.querySelector("use");
  const icon = use?.getAttribute("href");
  use?.setAttribute("href", icon.replace(/#.*/, "#check"));
  if (label) label.textContent = t("Copied");
  setTimeout(() => {
    delete button.dataset.copied;
    use?.setAttribute("href", icon);
    if (label) label.textContent = before;
  }, SHOWN);
}

export function startCopying() {
  for (const button of document.querySelectorAll("[data-copy][hidden]")) button.hidden = false;
  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.("[data-copy]");
    if (!button) return;
    event.preventDefault();
    try {
      await write(button.dataset.copy);
    } catch {
      warn(t("The browser refused to copy."));
      return;
    }
    showCopied(button);
    announce(t("Copied"));
  });
}
