// The palette: one field that leads anywhere, by keyboard alone; and the shortcuts, which a visitor can turn off
// (WCAG 2.1.4: a letter alone must not act for somebody who dictates).
const PLACES = { m: "/models", p: "/providers", c: "/playground/chat", f: "/account" };
const THEN = 1500;

let before = 0;

// Few press these keys: it is fetched with the first of them.
const page = () => import("./palette-page.js");

// Where the browser keeps nothing, the choice holds on this page.
let chosen = "on";

export function shortcutsOn() {
  try {
    return chosen === "on" && localStorage.getItem("shortcuts") !== "off";
  } catch {
    return chosen === "on";
  }
}

function choose(state) {
  chosen = state;
  try {
    localStorage.setItem("shortcuts", state);
  } catch { /* no storage in this browser */ }
}

function open(id) {
  const dialog = document.getElementById(id);
  if (!dialog || document.querySelector("dialog[open]")) return;
  dialog.showModal();
  const field = dialog.querySelector("input[type=search]");
  field?.select();
  if (field && !dialog.querySelector("#palette-found").children.length) window.htmx?.trigger(field, "load-first");
}

function step(items, by, from = document.activeElement) {
  const at = items.indexOf(from);
  return items[at < 0 ? (by > 0 ? 0 : items.length - 1) : (at + by + items.length) % items.length];
}

// In the palette: arrows walk the field and the results; typing anywhere goes on in the field. In the list of actions alike.
function walk(event) {
  const dialog = event.currentTarget;
  const field = dialog.querySelector("input[type=search]");
  if (event.key === "Escape") {
    // Chromium would empty the field first.
    event.preventDefault();
    dialog.close();
  } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    event.preventDefault();
    step([...(field ? [field] : []), ...dialog.querySelectorAll(".found a")], event.key === "ArrowDown" ? 1 : -1)?.focus();
  } else if (field && event.key.length === 1 && event.key !== " " && !event.ctrlKey && !event.metaKey && document.activeElement !== field) {
    field.focus();
  }
}

function search(event) {
  const fields = [...document.querySelectorAll("[data-hotkey='/']")];
  const field = fields.find((candidate) => candidate.offsetParent !== null);
  event.preventDefault();
  if (!field) return open("palette");
  field.focus();
  field.select();
}

function row(by) {
  const links = [...document.querySelectorAll("main .row-link")].filter((link) => link.offsetParent !== null);
  step(links, by, document.activeElement.closest("tr")?.querySelector(".row-link"))?.focus();
}

function pressed(event) {
  if ((event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey && event.key.toLowerCase() === "k") {
    event.preventDefault();
    return open("palette");
  }
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || !shortcutsOn()) return;
  if (event.target.closest?.("input:not([type=checkbox]), textarea, select, [contenteditable], dialog")) return;
  const after = Date.now() - before < THEN;
  before = event.key === "g" ? Date.now() : 0;
  if (after && PLACES[event.key]) location.href = PLACES[event.key];
  else if (event.key === "/") search(event);
  else if (event.key === "?") open("shortcuts");
  else if (event.key === ".") page().then(({ fillActions }) => fillActions(document.getElementById("actions")) && open("actions"));
  else if (event.key === "x") page().then(({ tick }) => tick());
  else if (event.key === "c") page().then(({ compare }) => compare());
  else if (event.key === "j" || event.key === "k") row(event.key === "j" ? 1 : -1);
}

export function startPalette() {
  document.addEventListener("keydown", pressed);
  for (const id of ["palette", "actions"]) document.getElementById(id)?.addEventListener("keydown", walk);
  const box = document.querySelector("[data-shortcuts]");
  if (!box) return;
  box.checked = shortcutsOn();
  box.addEventListener("change", () => choose(box.checked ? "on" : "off"));
  for (const opener of document.querySelectorAll("[data-opens=shortcuts]")) opener.hidden = false;
}
