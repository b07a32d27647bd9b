// What was ticked to compare survives pages and filters of this tab; four at most, and that is said.
import { t } from "./words.js";

const KEY = "compare";
const MOST = 4;
const WORKLOAD = ["tokens_in", "tokens_cached", "tokens_out", "requests"];

function kept() {
  try {
    return [JSON.parse(sessionStorage.getItem(KEY)) ?? []].flat().filter((id) => typeof id === "string").slice(0, MOST);
  } catch {
    return [];
  }
}

export function startCompare() {
  const form = document.querySelector("[data-compare]");
  if (!form) return;
  const count = form.querySelector("[data-compare-count]");
  const note = form.querySelector("[data-compare-note]");
  let chosen = kept();

  function show() {
    for (const box of document.querySelectorAll("input[form=compare]")) {
      box.checked = chosen.includes(box.value);
      box.disabled = !box.checked && chosen.length >= MOST;
    }
    count.textContent = String(chosen.length);
    note.textContent = chosen.length >= MOST ? t("Four is the most.") : chosen.length < 2 ? t("Tick two to four.") : "";
    try {
      sessionStorage.setItem(KEY, JSON.stringify(chosen));
    } catch {
      // A browser that stores nothing keeps the choice for this page.
    }
  }

  document.addEventListener("change", (event) => {
    const box = event.target;
    if (!box.matches?.("input[form=compare]")) return;
    chosen = chosen.filter((id) => id !== box.value);
    if (box.checked) chosen.push(box.value);
    show();
  });
  // Ticked ones of other pages have no box here.
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const query = new URLSearchParams(chosen.map((id) => ["s", id]));
    // The workload of the rows as they are now: the form is older than what htmx has replaced since.
    const now = new URLSearchParams(location.search);
    for (const name of WORKLOAD) if (now.get(name)) query.set(name, now.get(name));
    location.assign(`${form.getAttribute("action")}?${query}`);
  });
  document.body.addEventListener("htmx:afterSettle", show);
  // The way back: others may have been ticked since.
  addEventListener("pageshow", ({ persisted }) => {
    if (!persisted) return;
    chosen = kept();
    show();
  });
  show();
}

// From a service's own page it joins what is ticked already; alone it leads to the list in which others can be ticked.
export function startAdding() {
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("[data-compare-add]");
    if (!link || event.button || event.metaKey || event.ctrlKey || event.shiftKey) return;
    const id = link.dataset.compareAdd;
    const chosen = [...kept().filter((other) => other !== id).slice(1 - MOST), id];
    try {
      sessionStorage.setItem(KEY, JSON.stringify(chosen));
    } catch {
      return; // The link says what to do.
    }
    event.preventDefault();
    location.assign(chosen.length > 1 ? `/compare?${new URLSearchParams(chosen.map((one) => ["s", one]))}` : link.dataset.list);
  });
}
