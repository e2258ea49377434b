// Tables whose rows open, by mouse and by keyboard. A column: [title, cell, class, width hint].

import { el } from "./dom.js";

export function table(columns, rows, { open, key, selected, label }) {
  const focused = document.activeElement?.dataset?.row;
  const head = columns.map(([name, , kind]) => el("th", { class: kind, scope: "col" }, name));
  const body = el("tbody");
  for (const row of rows) {
    const id = String(key(row));
    const cells = columns.map(([, of, kind]) => {
      const value = of(row) ?? "";
      return el("td", { class: kind, title: typeof value === "string" && value.length > 24 ? value : null }, value);
    });
    const line = el("tr", { tabindex: 0, "data-row": id, "aria-selected": id === selected ? "true" : null }, cells);
    line.addEventListener("click", (event) => {
      if (!event.target.closest("a, button") && !String(getSelection())) open(row);
    });
    body.append(line);
  }
  if (focused) queueMicrotask(() => document.querySelector(`main tr[data-row="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true }));
  return el("div", { class: "card table", role: "region", "aria-label": label, tabindex: 0 },
    el("table", {}, el("caption", { class: "hidden" }, label), el("thead", {}, el("tr", {}, head)), body));
}

export function mark(selected) {
  for (const line of document.querySelectorAll("main tr[data-row]")) {
    if (line.dataset.row === selected) line.setAttribute("aria-selected", "true");
    else line.removeAttribute("aria-selected");
  }
}
