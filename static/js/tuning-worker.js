// Checks a dataset in the browser before a byte is sent: the rules of protocol/datasets.py, line by line, streamed.
const MOST = 100;
const LONGEST = 1024 * 1024;
const MOST_SEEN = 1e6;
// As finetune/checking.py has them: upper ends of the histogram's bars in tokens, what is shown of the first rows, and of a bad line.
const EDGES = [16, 32, 64, 128, 256, 512, 1024, 2048, 4096];
const [SHOWN_ROWS, SHOWN_CHARS, SHOWN_OF_LINE] = [3, 600, 80];
const ROLES = ["system", "user", "assistant", "tool"];

const filled = (row, key) => {
  if (typeof row[key] !== "string") throw new Error(`${key}: expected a text`);
  if (!row[key].trim()) throw new Error(`${key}: is empty`);
  if (/\p{Cs}/u.test(row[key])) throw new Error(`${key}: holds half a character (a lone surrogate)`);
};

function conversation(messages) {
  if (!Array.isArray(messages) || !messages.length) throw new Error("messages: expected a list of messages");
  messages.forEach((message, at) => {
    const which = `messages: the ${at + 1}.`;
    if (typeof message !== "object" || message === null || Array.isArray(message)) throw new Error(`${which} is not an object`);
    if (!ROLES.includes(message.role)) throw new Error(`${which} has no known role`);
    try { filled(message, "content"); } catch (error) { throw new Error(`${which} ${error.message}`); }
  });
  if (!messages.some((message) => message.role === "user")) throw new Error("messages: nobody is the user");
  if (messages.at(-1).role !== "assistant") throw new Error("messages: the last one is not the assistant's");
  return ["messages", messages.slice(0, -1).map((message) => message.content).join("\n"), messages.at(-1).content];
}

// What kind of row it is, what the model is given, and what it should say.
function parsed(text) {
  let row;
  try { row = JSON.parse(text); } catch { throw new Error("not valid JSON"); }
  if (typeof row !== "object" || row === null || Array.isArray(row)) throw new Error("expected a JSON object");
  if ("messages" in row) return conversation(row.messages);
  if ("instruction" in row || "output" in row) {
    const { input = "" } = row; // null is no text
    if (typeof input !== "string") throw new Error("input: expected a text");
    filled(row, "instruction");
    if (input.trim()) filled(row, "input");
    filled(row, "output");
    return ["instruction", input.trim() ? `${row.instruction}\n${input}` : row.instruction, row.output];
  }
  if ("text" in row) { filled(row, "text"); return ["text", "", row.text]; }
  throw new Error("expected instruction and output, messages, or text");
}

// As finetune/checking.py counts them: four bytes each.
const estimate = (text) => Math.ceil(new TextEncoder().encode(text).length / 4);

// 53 bits (cyrb53) of a row stand for it: rows themselves would fill the memory.
function digestOf(text) {
  let [high, low] = [0xdeadbeef, 0x41c6ce57];
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    high = Math.imul(high ^ code, 2654435761);
    low = Math.imul(low ^ code, 1597334677);
  }
  high = Math.imul(high ^ (high >>> 16), 2246822507) ^ Math.imul(low ^ (low >>> 13), 3266489909);
  low = Math.imul(low ^ (low >>> 16), 2246822507) ^ Math.imul(high ^ (high >>> 13), 3266489909);
  return 4294967296 * (2097151 & low) + (high >>> 0);
}

class Check {
  constructor() {
    Object.assign(this, { line: 0, rows: 0, kind: "", tokens: 0, duplicates: 0, count: 0, problems: [], known: new Set() });
    Object.assign(this, { lengths: new Map(), bars: EDGES.concat(0).fill(0), preview: [] });
  }

  // `bytes`: the line, whose beginning tells which one it is.
  add(line, text, bytes = new Uint8Array(0)) {
    this.count += 1;
    if (this.problems.length < MOST) this.problems.push([line, text, begins(bytes)]);
  }

  take(bytes) {
    this.line += 1;
    if (bytes.length > LONGEST) { this.add(this.line, "longer than 1 MiB", bytes); return; }
    let text;
    // A mark of byte order stands at the beginning of a file alone.
    try { text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: this.line > 1 }).decode(bytes); } catch { this.add(this.line, "not UTF-8", bytes); return; }
    if (!/[^\t-\r ]/.test(text)) return;
    try {
      const [kind, given, answer] = parsed(text);
      if (this.kind && kind !== this.kind) throw new Error(`a row of the kind ${kind} in a file of ${this.kind} rows`);
      this.kind = kind;
      this.rows += 1;
      const tokens = estimate(given) + estimate(answer);
      this.tokens += tokens;
      this.lengths.set(tokens, (this.lengths.get(tokens) ?? 0) + 1);
      const bar = EDGES.findIndex((edge) => tokens <= edge);
      this.bars[bar < 0 ? EDGES.length : bar] += 1;
      if (this.preview.length < SHOWN_ROWS) this.preview.push([clipped(given), clipped(answer)]);
      const digest = digestOf(`${given}\0${answer}`);
      if (this.known.has(digest)) this.duplicates += 1;
      if (this.known.size < MOST_SEEN) this.known.add(digest);
    } catch (error) { this.add(this.line, error.message, bytes); }
  }

  // The shortest row, the longest, and the middle one (the lower of two).
  get spread() {
    const sorted = [...this.lengths].sort(([one], [other]) => one - other);
    let seen = 0;
    const median = sorted.find(([, times]) => { seen += times; return seen * 2 >= this.rows; });
    return { least: sorted[0]?.[0] ?? 0, most: sorted.at(-1)?.[0] ?? 0, median: median?.[0] ?? 0 };
  }
}

// By characters, so that none is cut in half.
const clipped = (text) => [...text.slice(0, 2 * SHOWN_CHARS)].slice(0, SHOWN_CHARS).join("");

// A line as far as it tells which one it is; marks that turn or hide text are left out.
function begins(bytes) {
  const text = new TextDecoder().decode(bytes.subarray(0, 8 * SHOWN_OF_LINE)).replace(/[\p{Cc}\p{Cf}]/gu, " ").trim();
  const shown = [...text].slice(0, SHOWN_OF_LINE).join("");
  return shown.length < text.length ? `${shown}…` : shown;
}

async function check(file) {
  const found = new Check();
  const reader = file.stream().getReader();
  let rest = new Uint8Array(0);
  let seen = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    seen += value.length;
    let start = 0;
    for (let end = value.indexOf(10); end >= 0; end = value.indexOf(10, start)) {
      found.take(joined(rest, value.subarray(start, end)));
      rest = new Uint8Array(0);
      start = end + 1;
    }
    // Of a line without an end only as much is kept as tells that it is too long.
    if (rest.length <= LONGEST) rest = joined(rest, value.subarray(start));
    postMessage({ seen });
  }
  if (rest.length) found.take(rest);
  if (!found.rows && !found.count) found.add(0, "the file holds no rows");
  return found;
}

function joined(first, second) {
  const whole = new Uint8Array(first.length + second.length);
  whole.set(first);
  whole.set(second, first.length);
  return whole;
}

addEventListener("message", async (event) => {
  try {
    const { rows, tokens, duplicates, count, problems, bars, preview, spread } = await check(event.data);
    postMessage({ done: true, rows, tokens, duplicates, count, problems, bars, preview, spread, edges: EDGES });
  } catch (error) { reportError(error); } // a file that is gone: the page hears of errors, not of promises
});
