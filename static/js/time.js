// Moments in the reader's own zone, for whoever chose it in the footer (a cookie); the server writes UTC.
// Charts and tables whose every row begins a day of UTC are left as they are.
import { choose } from "./cookie.js";
import { t } from "./words.js";

const DAY = 86400;
const lang = document.documentElement.lang || "en";
export const locale = lang === "en" ? "en-GB" : lang;

export const local = () => /(?:^|; )zone=local(?:;|$)/.test(document.cookie);
const format = (options) => new Intl.DateTimeFormat(locale, options);
const date = { day: "numeric", month: "short", year: "numeric" };
const clock = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
const shapes = { day: format(date), bare: format({ ...date, ...clock }), clock: format({ ...clock, second: "2-digit" }) };
const exact = format({ ...date, ...clock, second: "2-digit", timeZoneName: "short" });

// The zone's short name at a moment: summer and winter have different ones.
const short = (at) => exact.formatToParts(at).find((part) => part.type === "timeZoneName").value;
const said = (shape, at) => shapes[shape].format(at).replace(",", "");

// Whether the rows of a drawing or table are whole days of UTC.
export const inDays = (figure) => {
  const rows = figure?.querySelectorAll("[data-unix]") ?? [];
  return rows.length > 0 && [...rows].every((row) => Number(row.dataset.unix) % DAY === 0);
};

const kept = new WeakMap();
function stays(element) {
  const figure = element.closest("figure[data-chart]");
  if (figure && !kept.has(figure)) kept.set(figure, inDays(figure));
  return figure ? kept.get(figure) : false;
}

function write(element) {
  const at = new Date(element.dateTime);
  if (Number.isNaN(at.getTime()) || !element.dateTime.includes("T") || stays(element)) return;
  element.title = exact.format(at);
  const { at: grain } = element.dataset;
  if (!grain) return; // "3 min ago" is the same everywhere
  if (grain === "iso") element.textContent = exact.format(at);
  else element.textContent = grain === "minute" ? `${said("bare", at)} ${short(at)}` : said(grain, at);
}

function all(root) {
  if (root.matches?.("time")) write(root);
  for (const element of root.querySelectorAll?.("time") ?? []) write(element);
  for (const word of root.querySelectorAll?.("[data-zone]") ?? []) if (!stays(word)) word.textContent = short(new Date());
}

export function startTime() {
  if (local()) {
    all(document);
    // What is swapped in later, and what scripts add.
    new MutationObserver((changes) => changes.forEach((change) => change.addedNodes.forEach((node) => node.nodeType === 1 && all(node))))
      .observe(document.body, { childList: true, subtree: true });
  }
  for (const button of document.querySelectorAll("[data-zone-toggle]")) {
    button.textContent = local() ? t("Times: {zone}", { zone: short(new Date()) }) : t("Times: UTC");
    button.title = local() ? t("Show times in UTC") : t("Show times in your own zone");
    button.hidden = false;
    button.addEventListener("click", () => {
      choose("zone", local() ? "" : "local");
      location.reload();
    });
  }
}
