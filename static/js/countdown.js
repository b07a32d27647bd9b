// Countdowns: <span data-countdown="unix seconds" data-done-text="...">. Two units, never negative.
const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];

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

function tick() {
  const now = Math.floor(Date.now() / 1000);
  for (const element of document.querySelectorAll("[data-countdown]:not([data-done])")) {
    const seconds = Number(element.dataset.countdown) - now;
    element.textContent = seconds > 0 ? left(seconds) : element.dataset.doneText;
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
