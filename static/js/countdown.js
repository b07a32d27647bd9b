// Countdowns: <span data-countdown data-left="seconds" data-done-text="...">. Two units, never negative.
// How much is left is the server's word, which knows the chain's clock: the browser's may be wrong by days
// and only measures what has passed since.
const ends = new WeakMap();
export const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];

export function left(seconds) {
  let rest = Math.max(0, seconds);
  const parts = UNITS.map(([size, unit]) => {
    const value = Math.floor(rest / size);
    rest -= value * size;
    return [value, unit];
  });
  const first = parts.findIndex(([value]) => value > 0);
  if (first < 0) return "0 s";
  return parts.slice(first, first + 2).filter(([value]) => value > 0).map(([value, unit]) => `${value} ${unit}`).join(" ");
}

function end(element) {
  if (!ends.has(element)) ends.set(element, Date.now() + 1000 * Number(element.dataset.left));
  return ends.get(element);
}

// What has passed, <span data-elapsed="seconds">, goes on the same way. (Its beginning goes along where the element is copied.)
function passed({ dataset }) {
  dataset.begun ??= Date.now() - 1000 * Number(dataset.elapsed);
  return Math.floor((Date.now() - Number(dataset.begun)) / 1000);
}

// "2 d 4 h" stays for an hour, and so does what somebody has marked of it.
function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function tick() {
  for (const element of document.querySelectorAll("[data-elapsed]")) write(element, left(passed(element)));
  for (const element of document.querySelectorAll("[data-countdown]:not([data-done])")) {
    const seconds = Math.ceil((end(element) - Date.now()) / 1000);
    write(element, seconds > 0 ? left(seconds) : element.dataset.doneText);
    if (seconds <= 0) {
      element.dataset.done = "";
      element.dispatchEvent(new CustomEvent("countdown:done", { bubbles: true }));
    }
  }
}

export function startCountdowns() {
  tick();
  setInterval(tick, 1000);
}
