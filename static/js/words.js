// Words of scripts in the reader's language. Pages in another language than English load
// words-<language>.js before any other module; without it, and for what it lacks, English stands.
const known = new Map();

export function learn(words) {
  for (const [text, translated] of Object.entries(words)) known.set(text, translated);
}

// "{name}" stands for values.name. Values are data: whoever puts the result into markup escapes it.
const filled = (text, values) => text.replace(/\{(\w+)\}/g, (hole, name) => values[name] ?? hole);

export const t = (text, values = {}) => filled(known.get(text) ?? text, values);

// One or many: {n} is the number, as it shall be written in values.n where that is given.
export function tn(one, many, n, values = {}) {
  const forms = known.get(one) ?? [one, many];
  return filled(forms[n === 1 ? 0 : 1], { n, ...values });
}
