// A JSON value as a tree that folds, with its types told apart.

import { el, moment } from "./dom.js";

const TIMES = new Set(["time", "$time"]);

export function tree(value, open = 4) {
  return el("ul", { class: "tree" }, Object.entries(value).map(([name, item]) => branch(name, item, open)));
}

function branch(name, value, open) {
  if (value !== null && typeof value === "object") {
    const entries = Object.entries(value);
    const count = Array.isArray(value) ? `[${entries.length}]` : `{${entries.length}}`;
    const fold = el("details", { open: open > 1 && entries.length <= 50 },
      el("summary", {}, el("span", { class: "key" }, name), " ", el("span", { class: "dim" }, count)));
    const fill = () => {
      if (fold.querySelector("ul")) return;
      fold.append(el("ul", {}, entries.map(([key, item]) => branch(key, item, open - 1))));
    };
    if (fold.open) fill();
    fold.addEventListener("toggle", fill);
    return el("li", {}, fold);
  }
  return el("li", {}, el("span", { class: "key" }, name), el("span", { class: `value ${kindOf(value)}` }, shown(value)),
    TIMES.has(name) && typeof value === "number" ? el("span", { class: "dim" }, ` ${moment(value)} UTC`) : null);
}

const kindOf = (value) => (value === null ? "null" : typeof value);
const shown = (value) => (typeof value === "string" ? value || "“”" : String(value));

// JSON as text, with keys, strings and numbers in their colours.
export function code(value) {
  const source = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  const made = el("pre", { class: "code", tabindex: 0 });
  const token = /("(?:[^"\\]|\\.)*")(\s*:)?|\b(true|false|null)\b|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;
  let at = 0;
  for (const match of source.matchAll(token)) {
    made.append(source.slice(at, match.index));
    const kind = match[1] ? (match[2] ? "key" : "string") : match[3] ? "boolean" : "number";
    made.append(el("span", { class: kind }, match[1] ?? match[0]), match[2] ?? "");
    at = match.index + match[0].length;
  }
  made.append(source.slice(at));
  return made;
}
