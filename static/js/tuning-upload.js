// A dataset: checked in a worker, then sent piece by piece. An upload that was cut off goes on with the same file.
import { get, post, send as request } from "./wallet-http.js";
import { recall, remember } from "./wallet-provider.js";
import { said } from "./tuning-problems.js";
import { sample } from "./tuning-sample.js";
import { reload } from "./reload.js";
import { pause } from "./timing.js";
import { t, tn } from "./words.js";

const box = document.querySelector("[data-upload]");
const REMEMBERED = "tuning-upload";
const TRIES = 5;
const nameOf = (file) => `${file.name}:${file.size}:${file.lastModified}`;

function say(text) { box.querySelector("[data-upload-status]").textContent = text; }

function progress(share) {
  const bar = box.querySelector("[data-upload-progress]");
  bar.hidden = share === null;
  if (share !== null) bar.value = share;
}

// `name`: how many there are. The list scrolls, so it can be reached by keyboard while something is in it.
function problems(list, name = "") {
  const place = box.querySelector("[data-upload-problems]");
  place.replaceChildren(...list.map(([line, text, begins]) => {
    const item = document.createElement("li");
    item.textContent = line ? t("line {line}: {problem}", { line, problem: said(text) }) : said(text);
    if (begins) {
      const shown = document.createElement("bdi");
      shown.className = "mono note";
      shown.textContent = begins;
      item.append(" ", shown);
    }
    return item;
  }));
  place.ariaLabel = name;
  place.tabIndex = list.length ? 0 : -1;
}

function checked(file) {
  return new Promise((resolve, reject) => {
    const worker = new Worker(box.dataset.worker, { type: "module" });
    worker.addEventListener("message", ({ data }) => {
      if (!data.done) {
        if (field.files[0] === file) progress(data.seen / file.size);
        else worker.terminate();
        return;
      }
      worker.terminate();
      resolve(data);
    });
    worker.addEventListener("error", ({ message }) => {
      worker.terminate(); // which says nothing where its own file was not found: after an update of the site
      reject(new Error(message ? t("This file cannot be read.") : t("Part of this page is missing: reload it.")));
    });
    worker.postMessage(file);
  });
}

async function put(url, body) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      await request("PUT", url, body, { "Content-Type": "application/octet-stream" });
      return;
    } catch (error) {
      const final = error.status >= 400 && error.status < 500 && error.status !== 429;
      if (final || attempt >= TRIES) throw error;
    }
    await pause(1000 * attempt);
  }
}

async function begun(file) {
  const known = recall(REMEMBERED);
  if (known?.file === nameOf(file)) {
    const found = await get(`${box.dataset.begin}/${known.id}`).catch(() => null);
    if (found?.state === "uploading") return found;
  }
  const made = await post(box.dataset.begin, { name: file.name, size: file.size });
  remember(REMEMBERED, { file: nameOf(file), id: made.id });
  return made;
}

async function send(file) {
  const upload = await begun(file);
  const here = `${box.dataset.begin}/${upload.id}`;
  const all = Math.ceil(file.size / upload.piece_bytes);
  let left = upload.missing.length;
  for (const number of upload.missing) {
    const from = number * upload.piece_bytes;
    say(t("Sending: {sent} of {all} MB. You may close this page and go on later with the same file.", { sent: all - left, all }));
    await put(`${here}/pieces/${number}`, file.slice(from, from + upload.piece_bytes));
    left -= 1;
    progress((all - left) / all);
  }
  await post(`${here}/finish`);
  remember(REMEMBERED, null);
  field.value = ""; // some browsers choose it again when the page comes anew
  say(t("It is here. Being checked once more…"));
  for (let tries = 0; tries < 600; tries += 1) {
    await pause(1000);
    const found = await get(here).catch(() => null);
    if (found && found.state !== "checking") {
      history.replaceState(null, "", `?dataset=${upload.id}`); // stands chosen here, and in no other draft
      reload();
      return;
    }
  }
}

const field = box?.querySelector("input[type=file]");
const button = box?.querySelector("[data-upload-go]");
field?.addEventListener("change", async () => {
  const [file] = field.files;
  button.hidden = true;
  problems([]);
  sample(box, null);
  if (!file) return;
  say(t("Being checked in this browser…"));
  try {
    const found = await checked(file);
    if (field.files[0] !== file) return; // another was chosen meanwhile
    progress(null);
    const rows = tn("{n} good row", "{n} good rows", found.rows);
    sample(box, found);
    const faults = tn("{n} problem", "{n} problems", found.count);
    problems(found.problems, faults);
    if (found.count) {
      const n = found.problems.length;
      const mend = t("{rows}, {faults}. Mend the file and choose it again.", { rows, faults });
      say(found.count > n ? `${mend} ${t("Only the first {n} are listed.", { n })}` : mend);
      return;
    }
    const tokens = found.tokens.toLocaleString("en");
    say([
      t("{rows}, about {tokens} tokens, no problems.", { rows, tokens }),
      found.rows < 10 && t("Ten rows and more are advised."),
      found.duplicates && tn("{n} row repeats an earlier one.", "{n} rows repeat an earlier one.", found.duplicates),
    ].filter(Boolean).join(" "));
    button.hidden = false;
  } catch (error) {
    if (field.files[0] !== file) return;
    progress(null);
    say(error.message);
  }
});
// Next takes what is here already: a file that is not would be gone with the page.
let warned = null;
document.querySelector("[data-choose]")?.addEventListener("submit", (event) => {
  const [file] = field.files;
  if (!file || file === warned) return;
  event.preventDefault();
  warned = file;
  say(t("The file that you chose is not uploaded yet. Press Next once more to go on without it."));
  (button.hidden || button.disabled ? box.querySelector("[data-upload-status]") : button).scrollIntoView({ block: "center" });
  if (!button.hidden) button.focus({ preventScroll: true });
});
// Chosen before this script was there.
if (field?.files.length) field.dispatchEvent(new Event("change"));
button?.addEventListener("click", async () => {
  button.disabled = field.disabled = true;
  try { await send(field.files[0]); } catch (error) { say(t("{why} Press Upload to go on.", { why: error.message })); }
  button.disabled = field.disabled = false;
});
