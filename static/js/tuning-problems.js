// What is wrong with a row, in the reader's language: tuning-worker.js says it in the words of protocol/datasets.py.
import { t } from "./words.js";

const RULES = [
  [/^longer than 1 MiB$/, () => t("longer than 1 MiB")],
  [/^not UTF-8$/, () => t("not UTF-8")],
  [/^not valid JSON$/, () => t("not valid JSON")],
  [/^the file holds no rows$/, () => t("the file holds no rows")],
  [/^a row of the kind (\w+) in a file of (\w+) rows$/, ([, row, file]) => t("a row of the kind {row} in a file of {file} rows", { row, file })],
  [/^expected a JSON object$/, () => t("expected a JSON object")],
  [/^expected instruction and output, messages, or text$/, () => t("expected instruction and output, messages, or text")],
  [/^messages: expected a list of messages$/, () => t("messages: expected a list of messages")],
  [/^messages: nobody is the user$/, () => t("messages: nobody is the user")],
  [/^messages: the last one is not the assistant's$/, () => t("messages: the last one is not the assistant's")],
  [/^messages: the (\d+)\. is not an object$/, ([, n]) => t("messages: the {n}. is not an object", { n })],
  [/^messages: the (\d+)\. has no known role$/, ([, n]) => t("messages: the {n}. has no known role", { n })],
  [/^messages: the (\d+)\. (.+)$/, ([, n, problem]) => t("messages: the {n}. {problem}", { n, problem: said(problem) })],
  [/^(\w+): expected a text$/, ([, key]) => t("{key}: expected a text", { key })],
  [/^(\w+): is empty$/, ([, key]) => t("{key}: is empty", { key })],
  [/^(\w+): holds half a character \(a lone surrogate\)$/, ([, key]) => t("{key}: holds half a character (a lone surrogate)", { key })],
];

export function said(problem) {
  for (const [rule, words] of RULES) {
    const found = rule.exec(problem);
    if (found) return words(found);
  }
  return problem;
}
