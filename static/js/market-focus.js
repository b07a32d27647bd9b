// htmx gives the focus back by id. Where its element is gone, the new region's count gets it; the count is said once.
export function startFocus() {
  const region = document.querySelector("[data-focus-keeper]");
  if (!region) return;
  let inside = false;
  document.body.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.target === region) inside = region.contains(document.activeElement);
  });
  document.body.addEventListener("htmx:afterSettle", (event) => {
    if (event.detail.target !== region) return;
    const count = region.querySelector("[data-count]");
    if (!count) return;
    document.dispatchEvent(new CustomEvent("announce", { detail: { text: count.textContent } }));
    if (inside && !region.contains(document.activeElement)) {
      count.tabIndex = -1;
      count.focus();
    }
  });
}
