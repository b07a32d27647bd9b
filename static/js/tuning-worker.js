// Checks a dataset in the browser before a byte is sent: the rules of protocol/datasets.py, line by line, streamed.
const MOST = 100;
const LONGEST = 1024 * 1024;
const ROLES = ["system", "user", "assistant", "tool"];

const filled = (row, key) => {
  if (typeof row[key] !== "string") throw new Error(`${key}: expected a text`);
  if (!row[key].trim()) throw new Error(`${key}: is empty`);
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
  return "messages";
}

function kindOf(text) {
  let row;
  try { row = JSON.parse(text); } catch { throw new Error("not valid JSON"); }
  if (typeof row !== "object" || row === null || Array.isArray(row)) throw new Error("expected a JSON object");
  if ("messages" in row) return conversation(row.messages);
  if ("instruction" in row || "output" in row) {
    if (typeof (row.input ?? "") !== "string") throw new Error("input: expected a text");
    filled(row, "instruction");
    filled(row, "output");
    return "instruction";
  }
  if ("text" in row) { filled(row, "text"); return "text"; }
  throw new Error("expected instruction and output, messages, or text");
}

class Check {
  constructor() { Object.assign(this, { line: 0, rows: 0, kind: "", count: 0, problems: [] }); }

  add(line, text) {
    this.count += 1;
    if (this.problems.length < MOST) this.problems.push([line, text]);
  }

  take(bytes) {
    this.line += 1;
    if (bytes.length > LONGEST) { this.add(this.line, "longer than 1 MiB"); return; }
    let text;
    try { text = new TextDecoder("utf-8", { fatal: true }).decode(bytes); } catch { this.add(this.line, "not UTF-8"); return; }
    if (!text.trim()) return;
    try {
      const kind = kindOf(text);
      if (this.kind && kind !== this.kind) throw new Error(`a ${kind} row in a file of ${this.kind} rows`);
      this.kind = kind;
      this.rows += 1;
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
    const { rows, kind, count, problems } = await check(event.data);
    postMessage({ done: true, rows, kind, count, problems });
  } catch (error) { reportError(error); } // a file that is gone: the page hears of errors, not of promises
});
