// htmx gives the focus back by id. Where its element is gone, the new region's count gets it; the count is said once.
// Choices are replaced with their counts: what the visitor chose meanwhile stays, a link's order is the server's word.
import { announce } from "./toast.js";

export function startFocus() {
  const region = document.querySelector("[data-focus-keeper]");
  if (!region) return;
  const form = document.querySelector("#filters");
  const chosen = new Map();
  let inside = false;
  document.body.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.target !== region) return;
    inside = region.contains(document.activeElement);
    chosen.clear();
    if (event.detail.requestConfig.elt !== form) return;
    for (const select of form.querySelectorAll("select")) chosen.set(select, select.value);
  });
  document.body.addEventListener("htmx:afterSwap", (event) => {
    if (event.detail.target !== region) return;
    for (const select of form.querySelectorAll("select")) {
      select.value = chosen.get(select) ?? [...select.options].find((option) => option.defaultSelected)?.value ?? "";
    }
  });
  document.body.addEventListener("htmx:afterSettle", (event) => {
    if (event.detail.target !== region) return;
    const count = region.querySelector("[data-count]");
    if (!count) return;
    announce(count.textContent);
    if (inside && !region.contains(document.activeElement)) {
      count.tabIndex = -1;
      count.focus();
    }
  });
}
