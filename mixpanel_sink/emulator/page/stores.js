// Lookup tables and raw exports.

import { about, ask, go, post, query } from "./api.js";
import { bytes, clock, copyButton, el, empty, number, pairs } from "./dom.js";
import { requestTable, requests } from "./requests.js";
import { table } from "./table.js";
import { snippet } from "./events.js";

export const tables = {
  title: "Lookup tables",
  async open(view, given) {
    this.given = given;
    this.rows = el("div");
    this.said = el("p", { class: "told", role: "status" });
    this.shown = null;
    const name = el("input", { "aria-label": "Name of a new table", placeholder: "Name of a new table" });
    const create = async (event) => {
      event.preventDefault();
      if (!name.value.trim()) return;
      const { id } = await post("/emulator/lookup_tables", { name: name.value.trim() });
      this.said.textContent = `Created: its id is ${id}.`;
      name.value = "";
      await this.look();
    };
    view.replaceChildren(el("form", { class: "tools", onsubmit: create }, name, el("button", { class: "main" }, "Create")), this.said, this.rows);
    await this.look();
  },
  update(given) { this.given = given; return true; },
  async look() {
    const { lookup_tables: rows } = await ask("/emulator/lookup_tables");
    const key = JSON.stringify(rows);
    if (key === this.shown) return;
    this.shown = key;
    this.rows.replaceChildren(rows.length ? table([
      ["Name", (row) => el("span", { class: "strong" }, row.name), "name"],
      ["Id", (row) => row.id, "id"],
      ["Rows", (row) => number(row.rows), "n"],
      ["Columns", (row) => row.columns.join(", "), "rest wide"],
      ["Size", (row) => bytes(row.bytes), "n wide"],
      ["Replaced (UTC)", (row) => clock(row.replaced), "t wide"],
    ], rows, { label: "Lookup tables", key: (row) => row.id, selected: this.given.open, open: (row) => go({ open: row.id }) })
      : empty(el("p", {}, "No lookup tables yet."), el("p", { class: "dim" }, "At Mixpanel people create them on the web page, and programs replace their content. So it is here.")));
  },
  async detail(given) {
    const { lookup_tables: rows } = await ask("/emulator/lookup_tables");
    const found = rows.find((row) => row.id === given.open);
    if (!found) return null;
    const answer = await fetch(query("/emulator/lookup_tables", { id: found.id, project: found.project }));
    const csv = await answer.text();
    const put = `curl -X PUT '${location.origin}/lookup-tables/${found.id}?project_id=${found.project}' \\\n  -u '${about.api_secret ?? "SECRET"}:' -H 'Content-Type: text/csv' --data-binary @table.csv`;
    return {
      title: found.name,
      kind: "Lookup table",
      actions: [copyButton("Copy CSV", csv)],
      tabs: [
        ["Content", () => [csv ? el("pre", { class: "code", tabindex: 0 }, csv.split("\n").slice(0, 200).join("\n")) : empty("Nothing has been uploaded yet."), snippet("Replace it", put)]],
        ["About", () => [pairs([["Id", found.id], ["Project", String(found.project)], ["Rows", number(found.rows)], ["Size", bytes(found.bytes)], ["Replaced", clock(found.replaced)]])]],
      ],
      tab: given.tab,
    };
  },
};

export const exports_ = {
  title: "Exports",
  async open(view, given) {
    this.given = given;
    this.rows = el("div");
    this.quotas = el("div", { class: "gauges" });
    this.shown = null;
    view.replaceChildren(this.quotas, this.rows);
    await this.look();
  },
  update(given) { this.given = given; return true; },
  async look() {
    const [{ projects }, { requests: rows }] = await Promise.all([
      ask("/emulator/quota"), ask("/emulator/requests?order=newest&limit=200&path=/api/2.0/export")]);
    this.quotas.replaceChildren(...projects.flatMap((project) => project.exports.map((one) =>
      el("div", { class: "card gauge" }, el("span", { class: "dim" }, `Project ${project.project}: ${one.quota}`), el("b", {}, `${number(one.used)} queries used`)))));
    const key = JSON.stringify(rows);
    if (key === this.shown) return;
    this.shown = key;
    const day = new Date().toISOString().slice(0, 10);
    const curl = `curl '${location.origin}/api/2.0/export?from_date=2020-01-01&to_date=${day}' \\\n  -u '${about.api_secret ?? "SECRET"}:'`;
    this.rows.replaceChildren(rows.length ? requestTable(rows, this.given.open, "Exports", ["#", "Arrived (UTC)", "Path", "Status", "Records", "Note"]) : empty(el("p", {}, "No exports yet.")), snippet("Export what the emulator holds", curl, "h2"));
  },
  detail: (given) => requests.detail(given),
};
