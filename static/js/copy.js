// Copy buttons: <button data-copy="text">, shown here where they are `hidden` without a script. Says "Copied" to eye and ear.
import { t } from "./words.js";

async function write(text) {
  if (navigator.clipboard && window.isSecureContext) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "visually-hidden";
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

export function startCopying() {
  for (const button of document.querySelectorAll("[data-copy][hidden]")) button.hidden = false;
  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.("[data-copy]");
    if (!button) return;
    event.preventDefault();
    const label = button.querySelector(".visually-hidden");
    const before = label?.textContent;
    try {
      await write(button.dataset.copy);
    } catch {
      document.dispatchEvent(new CustomEvent("toast", { detail: { tone: "bad", text: t("The browser refused to copy.") } }));
      return;
    }
    button.dataset.copied = "";
    const use = button.querySelector("use");
    const icon = use?.getAttribute("href");
    use?.setAttribute("href", icon.replace(/#.*/, "#check"));
    if (label) label.textContent = t("Copied");
    document.dispatchEvent(new CustomEvent("announce", { detail: { text: t("Copied") } }));
    setTimeout(() => {
      delete button.dataset.copied;
      use?.setAttribute("href", icon);
      if (label) label.textContent = before;
    }, 1600);
  });
}
