// What a page itself offers, by keyboard: tick the row that has the focus, compare what is ticked, and a list of its actions.
import { announce } from "./toast.js";
import { t } from "./words.js";

const ACTIONS = "main :is(.page-header, .toolbar, .results-head, .panel) :is(a, button), main .tabs a";
const MOST = 24;

const seen = (element) => element.offsetParent !== null && !element.disabled && element.innerText.trim();

export function tick() {
  const row = document.activeElement?.closest("main :is(tr, li, article)");
  const box = row?.querySelector("input[form=compare]");
  if (!box) return announce(t("Choose a row with j and k first."));
  if (box.disabled) return announce(t("Four is the most."));
  box.click();
  announce(box.checked ? t("Ticked to compare.") : t("No longer ticked to compare."));
}

export function compare() {
  const form = document.querySelector("[data-compare]");
  if (!form) return announce(t("Nothing to compare on this page."));
  if (Number(form.querySelector("[data-compare-count]").textContent) < 2) return announce(t("Tick two to four with x first."));
  form.requestSubmit();
}

// A copy of each: a link stays a link, a button presses the one it stands for.
function copy(action, dialog) {
  const item = document.createElement("li");
  const link = document.createElement("a");
  link.href = action.href ?? "#";
  link.textContent = action.innerText.trim();
  link.addEventListener("click", (event) => {
    event.preventDefault();
    dialog.close();
    action.click();
  });
  if (!action.href) link.role = "button";
  item.append(link);
  return item;
}

export function fillActions(dialog) {
  const found = [...document.querySelectorAll(ACTIONS)].filter(seen).slice(0, MOST);
  if (!found.length) announce(t("This page has no actions of its own."));
  dialog.querySelector("ul").replaceChildren(...found.map((action) => copy(action, dialog)));
  return found.length > 0;
}
