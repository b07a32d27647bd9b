// Checks a dataset in the browser before a byte is sent: the rules of protocol/datasets.py, line by line, streamed.
const MOST = 100;
const LONGEST = 1024 * 1024;
const MOST_SEEN = 1e6;
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
  constructor() { Object.assign(this, { line: 0, rows: 0, kind: "", tokens: 0, duplicates: 0, count: 0, problems: [], known: new Set() }); }

  add(line, text) {
    this.count += 1;
    if (this.problems.length < MOST) this.problems.push([line, text]);
  }

  take(bytes) {
    this.line += 1;
    if (bytes.length > LONGEST) { this.add(this.line, "longer than 1 MiB"); return; }
    let text;
    // A mark of byte order stands at the beginning of a file alone.
    try { text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: this.line > 1 }).decode(bytes); } catch { this.add(this.line, "not UTF-8"); return; }
    if (!/[^\t-\r ]/.test(text)) return;
    try {
      const [kind, given, answer] = parsed(text);
      if (this.kind && kind !== this.kind) throw new Error(`a row of the kind ${kind} in a file of ${this.kind} rows`);
      this.kind = kind;
      this.rows += 1;
      this.tokens += estimate(given) + estimate(answer);
      const digest = digestOf(`${given}\0${answer}`);
      if (this.known.has(digest)) this.duplicates += 1;
      if (this.known.size < MOST_SEEN) this.known.add(digest);
    } catch (error) { this.add(this.line, error.message); }
  }
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
    const { rows, tokens, duplicates, count, problems } = await check(event.data);
    postMessage({ done: true, rows, tokens, duplicates, count, problems });
  } catch (error) { reportError(error); } // a file that is gone: the page hears of errors, not of promises
});
