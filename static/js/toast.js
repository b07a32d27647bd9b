// Toasts: document.dispatchEvent(new CustomEvent("toast", {detail: {tone: "ok" | "bad" | "", text}})).
// At most three; six seconds, paused while looked at; errors stay until dismissed.
import { t } from "./words.js";

const SECONDS = 6;

function build(region, { tone = "", text }) {
  const toast = document.createElement("div");
  toast.className = `toast ${tone}`;
  const words = document.createElement("p");
  words.textContent = text;
  const close = document.createElement("button");
  close.className = "button quiet small";
  close.type = "button";
  close.textContent = t("Dismiss");
  close.addEventListener("click", () => toast.remove());
  toast.append(words, close);
  region.append(toast);
  while (region.children.length > 3) region.firstElementChild.remove();
  if (tone === "bad") return;
  let looked = false;
  for (const name of ["mouseenter", "focusin"]) toast.addEventListener(name, () => { looked = true; });
  for (const name of ["mouseleave", "focusout"]) toast.addEventListener(name, () => { looked = false; });
  let age = 0;
  const clock = setInterval(() => {
    if (!looked) age += 1;
    if (age >= SECONDS) toast.remove();
    if (!toast.isConnected) clearInterval(clock);
  }, 1000);
}

export function startToasts() {
  const region = document.querySelector("[data-toasts]");
  if (!region) return;
  document.addEventListener("toast", (event) => build(region, event.detail));
  document.addEventListener("announce", (event) => {
    const words = document.createElement("p");
    words.className = "visually-hidden";
    words.textContent = event.detail.text;
    region.append(words);
    setTimeout(() => words.remove(), 3000);
  });
}
