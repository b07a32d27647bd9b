// "3 min ago" goes on while a page stands open: with each answer of the footer, by the clock of the server that gave it.
import { UNITS } from "./countdown.js";
import { t } from "./words.js";

const WEEK = 7 * 86400; // what is further away is said by its day
// What is read aloud when it changes stays: that it grew older is no news.
const AGES = 'time[datetime*="T"]:not([data-at], :is([data-said], [aria-live], [role="status"], [role="alert"]) *)';

// As `formats.relative` of the server says it: the largest unit alone.
function relative(seconds) {
  const size = Math.abs(seconds);
  if (size < 2) return t("now");
  const [length, unit] = UNITS.find(([one]) => one <= size);
  const time = `${Math.floor(size / length)} ${unit}`;
  return seconds > 0 ? t("{time} ago", { time }) : t("in {time}", { time });
}

// `now` in milliseconds, NaN where the server did not say.
export function grow(now) {
  for (const element of document.querySelectorAll(AGES)) {
    const seconds = Math.trunc((now - Date.parse(element.dateTime)) / 1000);
    if (Math.abs(seconds) > WEEK || Number.isNaN(seconds)) continue;
    const text = relative(seconds);
    if (element.textContent !== text) element.textContent = text;
  }
}
