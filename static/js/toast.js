// What is said at the foot of the page. `announce` and `heed` are for the ear alone; `warn` stays.
import { t } from "./words.js";

// A phone with its keyboard open is 300 pixels high.
const most = () => innerHeight < 480 ? 1 : 3;
const SPOKEN = 3000;
const region = document.querySelector("[data-toasts]");

// Outside of a modal dialog nothing is seen, said or pressed: the region goes into the topmost, and back.
const dialogs = new Set();
new MutationObserver((changes) => {
  for (const { target } of changes) {
    dialogs.delete(target);
    if (target.matches("dialog:modal")) dialogs.add(target);
  }
  const home = [...dialogs].at(-1) ?? document.body;
  if (region.parentNode !== home) home.append(region);
}).observe(document.body, { subtree: true, attributeFilter: ["open"] });

function paragraph(text, name = "") {
  return Object.assign(document.createElement("p"), { textContent: text, className: name });
}

export function announce(text) {
  // Several things may notice the same at once.
  if ([...region.children].some((said) => said.className === "visually-hidden" && said.textContent === text)) return;
  const words = paragraph(text, "visually-hidden");
  region.append(words);
  setTimeout(() => words.remove(), SPOKEN);
}

export function warn(text, about = text) {
  // What fails every few seconds is said once, with the id of the first.
  const toasts = [...region.querySelectorAll(".toast")];
  if (toasts.some(({ dataset }) => dataset.about === about)) return;
  const toast = Object.assign(document.createElement("div"), { className: "toast bad" });
  toast.dataset.about = about;
  const close = Object.assign(document.createElement("button"), { className: "button quiet small", type: "button", textContent: t("Dismiss") });
  close.addEventListener("click", () => toast.remove());
  toast.append(paragraph(text), close);
  region.append(toast);
  for (const old of [...toasts, toast].slice(0, -most())) old.remove();
}

// A live region that comes with its words is not heard, a replaced one as a whole: [data-said] is announced here once it has
// other words than its part of the page had.
const saying = () => new Map([...document.querySelectorAll("[data-said]")].filter((one) => one.getClientRects().length).map((one) => {
  const text = one.innerText.trim();
  return [`${one.closest("[id]")?.id} ${text}`, text];
}));
let said = saying();

export function heed() {
  const now = saying();
  for (const [key, text] of now) if (text && !said.has(key)) announce(text);
  said = now;
}

document.addEventListener("htmx:afterSettle", heed);
