// Events: newest first, what fits the filters, and how many over time.

import { about, ask, curlImport, go, query } from "./api.js";
import { chart, stacked } from "./chart.js";
import { choice, clock, copyButton, el, empty, field, moment, number, pairs, plural, refill, shortly } from "./dom.js";
import { code, tree } from "./tree.js";
import { table } from "./table.js";

const PAGE = 100;
const STEPS = { minute: 60, hour: 3600, day: 86400 };
const RANGES = [["", "All time"], ["3600", "Last hour"], ["86400", "Last 24 hours"], ["604800", "Last 7 days"], ["2592000", "Last 30 days"]];
const NAMES = ["search", "event", "user", "range", "from", "to", "unit"];

export const events = {
  title: "Events",
  async open(view, given) {
    this.given = given;
    this.names = el("datalist", { id: "names" });
    this.chart = el("div");
    this.told = el("p", { class: "told", role: "status" });
    this.rows = el("div");
    this.older = el("button", { type: "button", onclick: () => this.more() }, "Older events");
    this.chips = el("div", { class: "chips" });
    this.download = el("a", { class: "button quiet", download: "events.jsonl" }, "Download");
    this.fields = {
      search: field("Search names, ids and properties", given.search, (search) => go({ search }, { quietly: true }), { id: "search", class: "wide-field" }),
      event: field("Event", given.event, (event) => go({ event }, { quietly: true }), { list: "names" }),
      user: field("User", given.user, (user) => go({ user }, { quietly: true })),
      range: choice("Time", RANGES, given.range ?? "", (range) => go({ range, from: "", to: "" })),
      unit: choice("Counts by", Object.keys(STEPS).map((unit) => [unit, `by ${unit}`]), given.unit || "hour", (unit) => go({ unit: unit === "hour" ? "" : unit })),
    };
    view.replaceChildren(
      el("div", { class: "tools" }, Object.values(this.fields), this.names, this.download),
      this.chips, this.told, this.chart, this.rows, el("p", { class: "center" }, this.older));
    this.restart(given);
    await this.look();
  },
  // Filters changed: true when they are taken over without drawing the page again.
  update(given) {
    this.given = given;
    refill(this.fields, { ...given, unit: given.unit || "hour" });
    if (this.key !== keyOf(given)) { this.restart(given); this.look(); }
    return true;
  },
  restart(given) {
    this.key = keyOf(given);
    this.found = [];
    this.counts = Object.create(null);  // an event may be called __proto__
    this.before = null;
    this.newest = 0;
    this.limit = PAGE;
    this.searched = this.total = this.matched = 0;
    this.busy = false;
    this.run = (this.run ?? 0) + 1;
    this.older.hidden = true;
    if (this.filtered() && !this.rows.firstChild) this.rows.replaceChildren(empty("Searching…"));
    const range = rangeOf(given);
    this.chips.replaceChildren(given.from ? el("button", { class: "chip", type: "button", onclick: () => go({ from: "", to: "" }) },
      `${clock(Number(given.from)).slice(0, 16)} to ${clock(Number(given.to)).slice(0, 16)} ×`) : "");
    this.download.href = query("/emulator/download", { search: given.search, event: given.event, distinct_id: given.user, ...range });
  },
  filtered() {
    const { search, event, user, range, from } = this.given;
    return Boolean(search || event || user || range || from);
  },
  async look() {
    if (this.filtered()) await this.seek();
    else await this.newestOnes();
  },
  async newestOnes() {
    const run = this.run;
    const { events: rows } = await ask(query("/emulator/events", { detail: 1, limit: PAGE }));
    if (run !== this.run) return;
    const seen = new Set(rows.map((row) => row.seq));
    this.found = [...rows, ...this.found.filter((row) => !seen.has(row.seq))];
    this.draw();
    await this.countAll(run);
  },
  // Counting millions of events for the first time takes a while; the chart grows meanwhile.
  async countAll(run) {
    if (this.busy) return;
    this.busy = true;
    const unit = this.given.unit || "hour";
    try {
      while (run === this.run && !this.filtered() && !(await this.countMore(run, unit)));
    } finally { if (run === this.run) this.busy = false; }
  },
  async countMore(run, unit) {
    const counts = await ask(query("/emulator/counts", { unit, partial: 1 }));
    if (run !== this.run) return true;
    const byName = Object.fromEntries(Object.entries(counts.events).map(([name, values]) =>
      [name, Object.fromEntries(counts.starts.map((start, i) => [start, values[i]]).filter(([, count]) => count))]));
    this.names.replaceChildren(...Object.keys(counts.events).slice(0, 200).map((value) => el("option", { value })));
    this.told.textContent = counts.complete ? "" : "Counting the events over time…";
    this.drawChart(byName);
    return counts.complete;
  },
  // The search goes down through all events in portions, and then looks at what is new.
  async seek() {
    if (this.busy) return;
    this.busy = true;
    const run = this.run;
    const { search, event, user, unit } = this.given;
    const filters = { search, event, distinct_id: user, unit: unit || "hour", ...rangeOf(this.given) };
    let above = this.newest, before = null;
    try {
      do {
        const part = await ask(query("/emulator/search", { ...filters, limit: above ? PAGE : Math.max(0, PAGE - this.found.length), above: above || "", before: before ?? "" }));
        if (run !== this.run) return;
        if (before === null) this.newest = part.newest;
        this.take(part, above);
        before = part.before;
        if (above) this.searched = this.total = part.newest;
        else { this.searched = part.searched; this.total = part.total; }
        this.draw(before !== null);
        this.drawChart(this.counts);
        this.told.textContent = this.tell(before !== null);
      } while (before !== null);
    } finally { if (run === this.run) this.busy = false; }
  },
  take(part, above) {
    const seen = new Set(this.found.map((row) => row.seq));
    const fresh = part.events.filter((row) => !seen.has(row.seq));
    this.found = [...this.found, ...fresh].sort((a, b) => b.seq - a.seq);
    if (!above) this.found = this.found.slice(0, this.limit);
    this.matched += part.matched;
    for (const [name, periods] of Object.entries(part.counts)) {
      const known = (this.counts[name] ??= {});
      for (const [start, count] of Object.entries(periods)) known[start] = (known[start] ?? 0) + count;
    }
  },
  tell(more) {
    const what = this.given.search ? "names, ids and properties of " : "";
    return `${plural(this.matched, "event")} found. Searched ${what}${more ? `the newest ${number(this.searched)} of ${number(this.total)}` : `all ${number(this.total)}`} events${more ? "…" : "."}`;
  },
  async more() {
    const last = this.found.at(-1);
    if (!last) return;
    const { search, event, user } = this.given;
    let before = last.seq, added = 0;
    this.limit += PAGE;
    while (before !== null && added < PAGE) {
      const path = this.filtered() ? "/emulator/search" : "/emulator/events";
      const part = await ask(query(path, { detail: 1, search, event, distinct_id: user, limit: PAGE - added, before, ...rangeOf(this.given) }));
      this.found = [...this.found, ...part.events];
      added += part.events.length;
      before = this.filtered() ? part.before : null;
    }
    this.draw();
  },
  drawChart(counts) {
    const unit = this.given.unit || "hour";
    const { from, to } = rangeOf(this.given);
    const data = stacked(counts, STEPS[unit], from ? [from, to] : []);
    const key = JSON.stringify(data);
    if (key === this.drawn && this.chart.firstChild) return;
    if (this.chart.querySelector("[data-held]")) return;
    this.drawn = key;
    this.chart.replaceChildren(data.starts.length ? chart({
      title: "Events over time (UTC)", ...data, onrange: (from, to) => go({ from, to, range: "" }) }) : "");
  },
  draw(searching = false) {
    this.older.hidden = this.found.length < PAGE;
    if (!this.found.length) {
      this.shown = null;
      if (searching) this.rows.replaceChildren(empty("Searching…"));
      else this.rows.replaceChildren(this.filtered() ? empty(el("p", {}, "No events match."), el("button", { type: "button", onclick: () => go({}, { view: "events", fresh: true }) }, "Clear the filters")) : welcome());
      return;
    }
    const rows = this.found;
    const key = `${this.given.open} ${rows.map((row) => row.seq)}`;
    if (key === this.shown && this.rows.firstChild) return;
    this.shown = key;
    this.rows.replaceChildren(table([
      ["Event", (row) => el("span", { class: "strong", title: row.event.event }, row.event.event), "name"],
      ["User", (row) => row.user ?? "", "id"],
      ["Time (UTC)", (row) => shortly(moment(row.event.properties.time)), "t"],
      ["Properties", (row) => summary(row.event.properties), "rest wide"],
      ["Arrived", (row) => clock(row.arrived).slice(11), "t spare"],
      ["Endpoint", (row) => row.endpoint, "t spare"],
    ], rows, { label: "Events", key: (row) => row.seq, selected: this.given.open, open: (row) => go({ open: row.seq, tab: "" }) }));
  },
  async detail(given) {
    const number = Number(given.open);
    const known = this.found?.find((row) => row.seq === number);
    const row = known ?? (await ask(query("/emulator/events", { detail: 1, limit: 1, before: number + 1 }))).events[0];
    return row && row.seq === number ? eventDetail(row, given) : null;
  },
};

const keyOf = (given) => NAMES.map((name) => given[name] ?? "").join("\u0000");

function rangeOf({ range, from, to }) {
  if (from) return { from: Number(from), to: Number(to) };
  if (!range) return {};
  const now = Math.ceil(Date.now() / 60000) * 60;
  return { from: now - Number(range), to: now + 3600 };
}

const HIDDEN = new Set(["token", "distinct_id", "time", "$insert_id", "ip"]);

function summary(properties) {
  return el("span", { class: "summary" }, Object.entries(properties).filter(([name]) => !HIDDEN.has(name)).slice(0, 8)
    .map(([name, value]) => el("span", {}, el("span", { class: "dim" }, `${name} `), typeof value === "string" ? value.slice(0, 60) : JSON.stringify(value).slice(0, 60))));
}

export function eventDetail(row, given) {
  const { token, ...properties } = row.event.properties;
  const place = row.geolocation;
  const shown = { event: row.event.event, properties };
  return {
    title: row.event.event,
    kind: "Event",
    actions: [
      row.user === null ? null : el("a", { class: "button", href: "#/users?" + new URLSearchParams({ open: row.user }) }, "User"),
      el("a", { class: "button", href: `#/requests?open=${row.request}` }, `Request ${row.request}`),
      copyButton("Copy JSON", JSON.stringify(shown, null, 2)),
      copyButton("Copy as curl", curlImport([shown])),
    ],
    tabs: [
      ["Properties", () => [
        row.hidden ? el("p", { class: "note warn" }, "Mixpanel hides other events because of the property bucket of this one.") : null,
        tree(properties),
        el("h3", {}, "Arrival"),
        pairs([["User", row.user ?? "none"], ["Arrived", clock(row.arrived) + " UTC"], ["Endpoint", row.endpoint], ["Project", String(row.project)],
          ["Geolocation", place?.address ? `${place.address} (from ${place.from === "ip" ? "the property ip" : "the request"})` : "skipped"]])]],
      ["JSON", () => [code(shown)]],
    ],
    tab: given.tab,
  };
}

function welcome() {
  const secret = about.api_secret ?? about.token ?? "SECRET";
  const now = Math.floor(Date.now() / 1000);
  const curl = curlImport([{ event: "Sign Up", properties: { time: now, distinct_id: "user-1", $insert_id: `first-${now}`, plan: "premium" } }]);
  const command = `MIXPANEL_API_SECRET='${secret}' mixpanel-sink import events.parquet \\\n  --mapping mapping.yaml --endpoint ${location.origin}`;
  const python = `from mixpanel_sink import ApiSecret, WriteToMixpanel

events | WriteToMixpanel(
    mapping,
    ApiSecret("env:MIXPANEL_API_SECRET"),
    endpoint="${location.origin}",
)`;
  return el("section", { class: "card welcome" },
    el("h2", {}, "Waiting for the first event"),
    el("p", { class: "dim" }, `This emulator listens on ${location.origin} and speaks Mixpanel's HTTP API. Send it something:`),
    snippet("With curl", curl), snippet("With mixpanel-sink", command), snippet("In a Beam pipeline", python));
}

export function snippet(title, content, heading = "h3") {
  return el("div", { class: "snippet" }, el("div", { class: "head" }, el(heading, {}, title), copyButton("Copy", content)),
    el("pre", { class: "code", tabindex: 0 }, content));
}

