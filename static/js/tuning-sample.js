// What a dataset holds, as its browser has read it: lengths and first rows, in the form of finetune/dataset_card.html.
import { t } from "./words.js";

function element(name, text, ...classes) {
  const made = document.createElement(name);
  made.textContent = text;
  made.classList.add(...classes);
  return made;
}

// One bar: how many tokens, how many rows, and that beside the longest bar.
function bar(edges, at, rows, most) {
  const edge = (edges[at] ?? edges.at(-1)).toLocaleString("en");
  const head = element("th", edges[at] ? t("up to {edge}", { edge }) : t("over {edge}", { edge }));
  head.scope = "row";
  const [share, meter] = [element("td", ""), element("meter", rows)];
  Object.assign(meter, { max: most, value: rows });
  share.append(meter);
  const row = element("tr", "");
  row.append(head, element("td", rows.toLocaleString("en"), "number"), share);
  return row;
}

// A row of training: what is given and what is to be said; of plain text the latter alone.
function example(form, [given, answer]) {
  const made = form.content.cloneNode(true);
  const [first, second] = made.querySelectorAll("div");
  second.querySelector("bdi").textContent = answer;
  if (given) first.querySelector("bdi").textContent = given;
  else {
    first.remove();
    second.querySelector("dt").textContent = form.dataset.text;
  }
  return made;
}

// `found`: what the worker says; null where nothing is chosen.
export function sample(box, found) {
  const place = box.querySelector("[data-sample]");
  place.hidden = !found?.rows;
  if (place.hidden) return;
  const [least, most, median] = ["least", "most", "median"].map((name) => found.spread[name].toLocaleString("en"));
  place.querySelector("[data-sample-lengths]").textContent = t("Tokens per row, by our estimate of 4 bytes each: {least} to {most}, half have at most {median}.", { least, most, median });
  const longest = Math.max(...found.bars);
  const bars = found.bars.map((rows, at) => rows && bar(found.edges, at, rows, longest));
  place.querySelector("[data-sample-bars]").replaceChildren(...bars.filter(Boolean));
  const form = place.querySelector("template");
  place.querySelector("[data-sample-rows]").replaceChildren(...found.preview.map((row) => example(form, row)));
}
