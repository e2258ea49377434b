// Requests: the log, the quota, and what each request said and was told.

import { ask, curlRequest, go, query } from "./api.js";
import { chart } from "./chart.js";
import { bytes, choice, clock, copyButton, el, empty, number, pairs, plural, refill, shortly, status, text } from "./dom.js";
import { code } from "./tree.js";
import { table } from "./table.js";

const PAGE = 100;
const PATHS = ["/import", "/track", "/engage", "/groups"];
const STATUSES = [["", "Any status"], ["200", "200"], ["400", "400"], ["401", "401"], ["413", "413"], ["429", "429"], ["500", "500"], ["503", "503"], ["cut", "No answer"]];
const OUTCOMES = [["good", "accepted", "var(--ok)"], ["refused", "rate limited", "var(--limited)"], ["failed", "refused", "var(--refused)"], ["broken", "server errors", "var(--broken)"]];
const SPANS = [["minute", "Last hour"], ["hour", "Last 5 days"], ["day", "Last 120 days"]];
const STEPS = { minute: 60, hour: 3600, day: 86400 };

export const requests = {
  title: "Requests",
  async open(view, given) {
    this.given = given;
    this.limit = PAGE;
    this.gauges = el("div", { class: "gauges" });
    this.charts = el("div", { class: "charts" });
    this.rows = el("div");
    this.older = el("button", { type: "button", onclick: () => { this.limit += PAGE; this.look(); } }, "Older requests");
    this.shown = this.drawn = null;
    this.fields = {
      path: choice("Path", [["", "Every path"], ...PATHS.map((path) => [path, path])], given.path ?? "", (path) => go({ path })),
      status: choice("Status", STATUSES, given.status ?? "", (code) => go({ status: code })),
      span: choice("Time", SPANS, given.span || "minute", (span) => go({ span: span === "minute" ? "" : span })),
    };
    view.replaceChildren(this.gauges, el("div", { class: "tools" }, Object.values(this.fields)), this.charts, this.rows, el("p", { class: "center" }, this.older));
    await this.look();
  },
  update(given) {
    const again = ["path", "status", "span"].some((name) => given[name] !== this.given[name]);
    this.given = given;
    refill(this.fields, { ...given, span: given.span || "minute" });
    if (again) this.look();
    return true;
  },
  async look() {
    const { path, status: code, span } = this.given;
    const unit = span || "minute";
    const [quota, arrivals, { requests: rows }] = await Promise.all([
      ask("/emulator/quota"),
      ask(query("/emulator/counts", { by: "arrival", unit })),
      ask(query("/emulator/requests", { order: "newest", limit: this.limit, path, status: code })),
    ]);
    this.gauges.replaceChildren(...quota.projects.map(gauge));
    this.drawCharts(arrivals.periods, quota, unit);
    this.older.hidden = rows.length < this.limit;
    const key = `${this.given.open} ${JSON.stringify(rows)}`;
    if (key === this.shown) return;
    this.shown = key;
    this.rows.replaceChildren(rows.length ? requestTable(rows, this.given.open, "Requests")
      : empty(el("p", {}, path || code ? "No requests match." : "No requests yet.")));
  },
  drawCharts(periods, quota, unit) {
    const step = STEPS[unit], count = unit === "minute" ? 60 : 120;
    const last = Math.floor(quota.now / step) * step;
    const starts = Array.from({ length: count }, (_, i) => last - step * (count - 1 - i));
    const by = new Map(periods.map((period) => [period.start, period]));
    const key = JSON.stringify([periods, last]);
    if (key === this.drawn) return;
    this.drawn = key;
    const of = (name) => starts.map((start) => by.get(start)?.[name] ?? 0);
    const outcomes = OUTCOMES.map(([name, label, color]) => ({ name: label, color, values: of(name) })).filter((one) => one.values.some(Boolean));
    const per = { minute: "minute", hour: "hour", day: "day" }[unit];
    this.charts.replaceChildren(
      chart({ title: `Requests per ${per}`, starts, step, series: outcomes }),
      chart({ title: "New events per second", starts, step, kind: "lines", series: [{ name: "events/s", color: "var(--c0)", values: starts.map((start) => (by.has(start) ? by.get(start).stored / step : 0)) }] }),
      chart({ title: "Mean latency (ms)", starts, step, kind: "lines", series: [{ name: "latency", color: "var(--c1)", values: starts.map((start) => by.get(start)?.latency_ms ?? null) }] }),
      ...quotaChart(quota.projects[0], periods, starts, step));
  },
  async detail(given) {
    return requestDetail(await ask(`/emulator/requests/${Number(given.open)}`), given);
  },
};

// How much of the window was used at the end of each period, from the requests counted in it.
function quotaChart(project, periods, starts, step) {
  if (!project?.quota) return [];
  const taken = (start) => periods.filter((p) => p.start > start + step - Math.max(step, project.seconds) - 1 && p.start <= start).reduce((a, p) => a + p.counted, 0);
  return [chart({ title: `Quota used (${project.quota})`, starts, step, kind: "lines", series: [
    { name: "used", color: "var(--c2)", values: starts.map((start) => Math.min(project.requests, taken(start))) },
    { name: "allowed", color: "var(--line-strong)", values: starts.map(() => project.requests) }] })];
}

export function requestTable(rows, selected, label, columns = null) {
  const all = [
    ["#", (row) => String(row.id), "n"],
    ["Arrived (UTC)", (row) => shortly(clock(row.arrived)), "t"],
    ["Path", (row) => row.path, "id"],
    ["Status", (row) => status(row.status), "t"],
    ["Records", (row) => number(row.events), "n"],
    ["New", (row) => number(row.stored), "n spare"],
    ["Duplicates", (row) => number(row.duplicates), "n spare"],
    ["Failed", (row) => (row.failed ? el("span", { class: "bad" }, number(row.failed)) : "0"), "n wide"],
    ["Size", (row) => bytes(row.raw_bytes), "n wide"],
    ["Note", (row) => (row.fault ? el("span", { class: "pill limited" }, `fault: ${row.fault}`) : row.error ?? ""), "rest wide"],
  ];
  return table(columns ? all.filter(([name]) => columns.includes(name)) : all, rows, { label, key: (row) => row.id, selected, open: (row) => go({ open: row.id, tab: "" }) });
}

function gauge(project) {
  const name = `Project ${project.project}`;
  if (project.quota === null) return el("div", { class: "card gauge" }, el("span", { class: "dim" }, name), el("b", {}, "No quota"));
  const share = Math.min(1, project.used / project.requests);
  const wait = project.free_in > 0 ? `next one in ${Math.ceil(project.free_in)} s` : "free now";
  return el("div", { class: "card gauge" },
    el("span", { class: "dim" }, `${name}: ${project.quota}`),
    el("b", {}, `${number(project.used)} of ${number(project.requests)} requests used`), el("span", { class: "dim" }, wait),
    el("div", { class: "bar", role: "meter", "aria-label": `Quota of project ${project.project}`, "aria-valuemin": 0, "aria-valuemax": project.requests, "aria-valuenow": project.used },
      el("div", { class: share >= 1 ? "full" : null, style: `width: ${100 * share}%` })));
}

function requestDetail(row, given) {
  const { records, total, kept, error } = row.body;
  const took = row.finished ? Math.round(1000 * (row.finished - row.arrived)) : null;
  const failed = row.failed_records;
  return {
    title: `${row.path}`,
    kind: `Request ${row.id}`,
    actions: [
      status(row.status),
      kept && records.length ? copyButton("Copy as curl", async () => {
        const all = await ask(`/emulator/requests/${row.id}?limit=10000`);
        return curlRequest(row, all.body.records);
      }) : null,
      kept && total ? el("a", { class: "button quiet", href: `/emulator/requests/${row.id}/body`, download: "" }, "Download the body") : null,
      PATHS.slice(0, 2).includes(row.path) && row.stored ? el("a", { class: "button quiet", href: `/emulator/download?request=${row.id}`, download: "" }, "Download new events") : null,
    ],
    tabs: [
      ["Summary", () => [
        row.error ? el("p", { class: "note bad" }, row.error) : null,
        row.fault ? el("p", { class: "note warn" }, `An injected fault met this request: ${row.fault}.`) : null,
        pairs([
          ["Arrived", `${clock(row.arrived)} UTC`], ["Took", took === null ? "" : `${number(took)} ms`],
          ["Project", row.project === null ? "" : String(row.project)],
          ["Quota", row.quota === "counted" ? "counted" : row.quota === "refused" ? "refused: used up" : ""],
          ["Records", number(row.events)], ["Accepted", number(row.accepted)], ["New", number(row.stored)],
          ["Duplicates", number(row.duplicates)], ["Failed", number(row.failed)],
          ["Dropped", row.dropped ? `${number(row.dropped)} by $ignore` : ""], ["Cut texts", row.truncated_strings ? number(row.truncated_strings) : ""],
          ["Size", `${bytes(row.raw_bytes)}${row.content_encoding ? ` (${row.content_encoding})` : ""}, ${bytes(row.body_bytes)} decoded`],
          ["Content-Type", row.content_type ?? ""], ["User-Agent", row.user_agent ?? ""], ["From", row.remote ?? ""]])]],
      [`Body (${number(total)})`, () => bodyTab(row)],
      ["Answer", () => [row.answer?.startsWith("GIF89a") ? empty("The answer was an image of one pixel.") : row.answer ? code(pretty(row.answer)) : empty(row.status === null ? "The connection was cut without an answer." : "The answer had no body.")]],
      [`Failed records (${number(failed.length)})`, () => [failed.length ? failedRecords(failed) : empty("No record failed.")]],
    ],
    tab: given.tab,
  };
}

function failedRecords(failed) {
  return el("ul", { class: "failed" }, failed.slice(0, 500).map((one) => el("li", {},
    el("p", {}, el("span", { class: "pill" }, `#${one.index}`), el("code", {}, one.field || "the record"), one.insert_id ? el("span", { class: "dim" }, ` $insert_id ${text(one.insert_id)}`) : null),
    el("p", {}, one.message))));
}

function bodyTab(row) {
  const { records, total, kept, error } = row.body;
  if (!kept) return [empty("The body of this request is not kept: only those of the newest 1,000 requests are.")];
  if (error) return [el("p", { class: "note bad" }, error), code(row.body.text)];
  if (!total) return [empty("The body was empty, or was not read.")];
  const place = el("div", {}, records.map((record) => code(record)));
  const all = el("button", { type: "button" }, `Show all ${number(total)} records`);
  all.addEventListener("click", async () => {
    const { body } = await ask(`/emulator/requests/${row.id}?limit=10000`);
    place.replaceChildren(code(body.records));
    all.remove();
  });
  return [el("p", { class: "dim" }, `The first ${plural(records.length, "record")} of ${number(total)}.`), place, total > records.length ? all : null];
}

function pretty(answer) {
  try { return JSON.parse(answer); } catch { return answer; }
}
