// Elements and texts. Whatever came from a client is only ever set as text.

export const $ = (id) => document.getElementById(id);
const whole = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

export const number = (value) => whole.format(value ?? 0);
export const compact = (value) => short.format(value ?? 0);
export const sum = (numbers) => numbers.reduce((a, b) => a + (b ?? 0), 0);
export const plural = (count, word) => `${number(count)} ${word}${count === 1 ? "" : "s"}`;

export function el(tag, given = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

export function svg(tag, given = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(given)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

// Times are shown in UTC, as Mixpanel's documents count them.
export function clock(seconds) {
  if (seconds === null || seconds === undefined) return "";
  const date = new Date(seconds * 1000);
  return Number.isNaN(date.getTime()) ? String(seconds) : date.toISOString().replace("T", " ").slice(0, 19);
}

export function moment(time) {
  if (typeof time !== "number") return "";
  return clock(time >= 31e9 ? time / 1000 : time);
}

export function bytes(count) {
  if (count < 1024) return `${count} B`;
  if (count < 1024 * 1024) return `${(count / 1024).toFixed(1)} kB`;
  return `${(count / 1024 / 1024).toFixed(1)} MB`;
}

export function text(value) {
  return typeof value === "string" ? value : JSON.stringify(value);
}

export function pairs(rows) {
  const list = el("dl", { class: "pairs" });
  for (const [name, value] of rows) {
    if (value === null || value === undefined || value === "") continue;
    list.append(el("dt", {}, name), el("dd", {}, value));
  }
  return list;
}

export function status(code) {
  const kind = code === null ? "cut" : code < 400 ? "ok" : code === 429 ? "limited" : code < 500 ? "refused" : "broken";
  return el("span", { class: `pill ${kind}` }, code === null ? "no answer" : String(code));
}

export function choice(name, values, value, onchange) {
  const made = el("select", { "aria-label": name, onchange: () => onchange(made.value) });
  for (const [key, shown] of values) made.append(el("option", { value: key, selected: key === value }, shown));
  return made;
}

export function field(name, value, onchange, given = {}) {
  let waiting;
  const made = el("input", { type: "search", placeholder: name, "aria-label": name, autocomplete: "off", spellcheck: "false", ...given });
  made.value = value ?? "";
  made.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => onchange(made.value.trim()), 250);
  });
  return made;
}

// Fields follow the address, but not while somebody types in them.
export function refill(fields, given) {
  for (const [name, made] of Object.entries(fields)) {
    if (made !== document.activeElement) made.value = given[name] ?? "";
  }
}

// A time without its year and seconds where there is little room.
export function shortly(time) {
  return time && [el("span", { class: "spare" }, time.slice(0, 5)), time.slice(5, 16), el("span", { class: "spare" }, time.slice(16))];
}

export function copyButton(label, content) {
  const made = el("button", { class: "quiet", type: "button" }, label);
  made.addEventListener("click", async () => {
    const value = typeof content === "function" ? await content() : content;
    try { await navigator.clipboard.writeText(value); } catch { byHand(value); }
    made.textContent = "Copied";
    setTimeout(() => { made.textContent = label; }, 1200);
  });
  return made;
}

// Without https (and beyond loopback) browsers have no clipboard interface.
function byHand(value) {
  const area = el("textarea", { class: "hidden", "aria-hidden": "true" });
  area.value = value;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

export function empty(...children) {
  return el("div", { class: "empty" }, children);
}
