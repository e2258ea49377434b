// The emulator's page: what arrived, whose it is, what was asked, and what goes wrong.
// No framework and no build. Whatever came from a client is only ever set as text.

const $ = (id) => document.getElementById(id);
const number = new Intl.NumberFormat("en");
const PAGE = 100;

// Elements -------------------------------------------------------------------------------

function el(tag, given = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return made;
}

function svg(tag, given = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(given)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function clock(seconds) {
  if (seconds === null || seconds === undefined) return "";
  return new Date(seconds * 1000).toISOString().replace("T", " ").slice(0, 19);
}

function moment(time) {
  if (typeof time !== "number") return "";
  const seconds = time >= 31e9 ? time / 1000 : time;
  const date = new Date(seconds * 1000);
  return Number.isNaN(date.getTime()) ? String(time) : clock(seconds);
}

function text(value) {
  return typeof value === "string" ? value : JSON.stringify(value);
}

function pairs(object) {
  const list = el("dl");
  for (const [name, value] of Object.entries(object)) {
    if (value !== null) list.append(el("dt", {}, name), el("dd", {}, text(value)));
  }
  return list;
}

// The server -----------------------------------------------------------------------------

async function ask(path, options) {
  const answer = await fetch(path, options);
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.error ?? `${answer.status}`);
  return said;
}

function query(path, given) {
  const kept = Object.entries(given).filter(([, value]) => value !== "" && value !== undefined);
  return `${path}?${new URLSearchParams(kept)}`;
}

function post(path, value) {
  const headers = { "Content-Type": "application/json" };
  return ask(path, { method: "POST", headers, body: JSON.stringify(value) });
}

function trouble(error) {
  const shown = $("trouble");
  shown.hidden = !error;
  shown.textContent = error ? `The emulator does not answer: ${error.message}` : "";
}

// Parts that several views use ------------------------------------------------------------

function detail(title, ...parts) {
  const close = el("button", { class: "close", onclick: closeDetail }, "Close");
  $("detail").replaceChildren(close, el("h2", {}, title), ...parts.filter((part) => part));
  $("detail").hidden = false;
}

function closeDetail() {
  $("detail").hidden = true;
  for (const row of document.querySelectorAll('tr[aria-selected="true"]')) {
    row.removeAttribute("aria-selected");
  }
}

function table(columns, rows, open, keyOf) {
  const selected = document.querySelector('tr[aria-selected="true"]')?.dataset.row;
  const focused = document.activeElement?.dataset?.row;
  const head = columns.map(([name, , kind]) => el("th", { class: kind, scope: "col" }, name));
  const body = el("tbody");
  for (const row of rows) {
    const key = String(keyOf(row));
    const cells = columns.map(([, of, kind]) => el("td", { class: kind }, of(row) ?? ""));
    const line = el("tr", { tabindex: 0, "data-row": key }, cells);
    if (key === selected) line.setAttribute("aria-selected", "true");
    line.addEventListener("click", () => {
      closeDetail();
      line.setAttribute("aria-selected", "true");
      open(row);
    });
    body.append(line);
  }
  const made = el("table", {}, el("thead", {}, el("tr", {}, head)), body);
  if (focused) queueMicrotask(() => document.querySelector(`tr[data-row="${CSS.escape(focused)}"]`)?.focus());
  return made;
}

// Stacked bars: series by name, one number for each label.
function chart(labels, series) {
  const names = Object.keys(series).sort((a, b) => sum(series[b]) - sum(series[a]));
  const shown = names.slice(0, 6);
  if (names.length > 6) {
    const rest = names.slice(6);
    series = { ...series, others: labels.map((_, i) => sum(rest.map((name) => series[name][i]))) };
    shown.push("others");
  }
  const totals = labels.map((_, i) => sum(shown.map((name) => series[name][i] ?? 0)));
  const most = Math.max(1, ...totals);
  const drawing = svg("svg", { viewBox: `0 0 ${labels.length || 1} 100`, preserveAspectRatio: "none", role: "img" });
  labels.forEach((label, i) => {
    let base = 100;
    shown.forEach((name, which) => {
      const height = (98 * (series[name][i] ?? 0)) / most;
      if (!height) return;
      base -= height;
      const title = svg("title", {}, `${label}  ${name}: ${number.format(series[name][i])}`);
      drawing.append(
        svg("rect", { x: i + 0.06, width: 0.88, y: base, height, fill: `var(--c${which})` }, title),
      );
    });
  });
  const legend = shown.map((name, which) =>
    el("span", {}, el("i", { style: `background: var(--c${which})` }), `${name} ${number.format(sum(series[name]))}`));
  return el("div", { class: "chart" }, drawing,
    el("div", { class: "ends" }, el("span", {}, labels[0] ?? ""), el("span", {}, `most: ${number.format(most)}`), el("span", {}, labels.at(-1) ?? "")),
    el("p", { class: "legend" }, legend));
}

const sum = (numbers) => numbers.reduce((a, b) => a + (b ?? 0), 0);

function choice(name, values, value, onchange) {
  const made = el("select", { "aria-label": name, onchange: () => onchange(made.value) });
  for (const [key, shown] of values) made.append(el("option", { value: key, selected: key === value }, shown));
  return made;
}

function field(name, value, onchange, list) {
  let waiting;
  const made = el("input", { type: "search", placeholder: name, "aria-label": name, value, list });
  made.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => onchange(made.value.trim()), 200);
  });
  return made;
}

// Views ----------------------------------------------------------------------------------
// Each has `open`, which draws it once, and `look`, which brings it up to date.

const events = {
  event: "", user: "", search: "", unit: "hour", older: [],
  async open(view) {
    const names = el("datalist", { id: "names" });
    this.rows = el("div");
    this.chart = el("div");
    const again = (change) => { Object.assign(this, change, { older: [] }); this.look().catch(trouble); };
    view.replaceChildren(
      el("div", { class: "tools" },
        Object.assign(field("Search a name or id…", this.search, (search) => again({ search })), { id: "search" }),
        field("Event", this.event, (event) => again({ event }), "names"),
        field("User", this.user, (user) => again({ user })),
        names,
        el("label", {}, "Counts by "),
        choice("Counts by", [["minute", "minute"], ["hour", "hour"], ["day", "day"]], this.unit, (unit) => again({ unit })),
      ),
      this.chart, this.rows,
      el("p", {}, el("button", { onclick: () => this.more().catch(trouble) }, "Older events")),
    );
    const found = await ask("/emulator/names?limit=200");
    names.append(...found.names.map((value) => el("option", { value })));
    await this.look();
  },
  filters() {
    return { detail: 1, limit: PAGE, event: this.event, distinct_id: this.user, search: this.search };
  },
  async look() {
    const [{ events: newest }, counts] = await Promise.all([
      ask(query("/emulator/events", this.filters())),
      ask(query("/emulator/counts", { unit: this.unit })),
    ]);
    const seen = new Set(newest.map((row) => row.seq));
    this.shown = [...newest, ...this.older.filter((row) => !seen.has(row.seq))];
    this.chart.replaceChildren(chart(counts.starts.map(clock), counts.events));
    this.draw();
  },
  async more() {
    const last = this.shown?.at(-1);
    if (!last) return;
    const { events: rows } = await ask(query("/emulator/events", { ...this.filters(), before: last.seq }));
    this.older = [...this.older, ...rows];
    this.shown = [...this.shown, ...rows];
    this.draw();
  },
  draw() {
    if (!this.shown.length) {
      this.rows.replaceChildren(el("p", { class: "empty" }, this.event || this.user || this.search
        ? "No event fits." : "No events yet. Point a pipeline at this address: its endpoint is " + location.origin));
      return;
    }
    this.rows.replaceChildren(table([
      ["Arrived", (row) => clock(row.arrived), "t"],
      ["Event", (row) => row.event.event],
      ["User", (row) => row.user ?? ""],
      ["Time", (row) => moment(row.event.properties.time), "t"],
      ["Endpoint", (row) => row.endpoint],
    ], this.shown, showEvent, (row) => row.seq));
  },
};

function showEvent(row) {
  const { token, ...properties } = row.event.properties;
  const place = row.geolocation;
  detail(row.event.event,
    el("p", {},
      el("button", { onclick: () => openUser(row.user) }, `User ${row.user ?? "unknown"}`), " ",
      el("button", { onclick: () => openRequest(row.request) }, `Request ${row.request}`)),
    pairs({
      arrived: clock(row.arrived), endpoint: row.endpoint, project: row.project,
      geolocation: place?.address ? `${place.address} (from ${place.from})` : "skipped",
    }),
    el("h2", {}, "Properties"), pairs(properties),
    el("h2", {}, "JSON"), el("pre", {}, JSON.stringify(row.event, null, 2)));
}

const users = {
  search: "",
  async open(view) {
    this.rows = el("div");
    view.replaceChildren(
      el("div", { class: "tools" },
        Object.assign(field("Search an id…", this.search, (search) => { this.search = search; this.look().catch(trouble); }), { id: "search" })),
      this.rows);
    await this.look();
  },
  async look() {
    const [{ users: ids }, { profiles }] = await Promise.all([
      ask(query("/emulator/users", { search: this.search, limit: PAGE })),
      ask(query("/emulator/profiles", { search: this.search, limit: PAGE })),
    ]);
    const known = new Map(profiles.map((profile) => [profile.$distinct_id, profile]));
    const rows = ids.map(({ id, distinct_id }) => ({ id, user: distinct_id, profile: known.get(id) }));
    const listed = new Set(ids.map(({ id }) => id));
    rows.push(...profiles.filter((p) => !listed.has(p.$distinct_id)).map((p) => ({ id: p.$distinct_id, user: p.$distinct_id, profile: p })));
    this.rows.replaceChildren(rows.length ? table([
      ["Id", (row) => row.id],
      ["User", (row) => (row.user === row.id ? "" : el("span", { class: "badge" }, `is ${row.user}`))],
      ["Name", (row) => text(row.profile?.properties.$name ?? "")],
      ["Updates", (row) => (row.profile ? number.format(row.profile.updates) : ""), "n"],
    ], rows, (row) => openUser(row.id), (row) => row.id) : el("p", { class: "empty" }, "No users."));
  },
};

async function openUser(id) {
  if (!id) return;
  try {
    const found = await ask(query(`/emulator/users/${encodeURIComponent(id)}`, { limit: 50 }));
    const operations = found.profile.operations.map(({ arrived, update }) => {
      const { $token, $distinct_id, ...rest } = update;
      return [el("dt", {}, clock(arrived)), el("dd", {}, JSON.stringify(rest))];
    });
    detail(found.distinct_id,
      found.ids.length > 1 ? el("p", {}, "Merged: ", found.ids.join(", ")) : null,
      el("h2", {}, "Profile"),
      Object.keys(found.profile.properties).length ? pairs(found.profile.properties) : el("p", { class: "dim" }, "No profile."),
      operations.length ? el("h2", {}, "Operations") : null, el("dl", {}, operations),
      el("h2", {}, `${number.format(found.events_count)} events`),
      table([
        ["Time", (row) => moment(row.event.properties.time), "t"],
        ["Event", (row) => row.event.event],
      ], found.events, showEvent, (row) => `of-user-${row.seq}`));
  } catch (error) { trouble(error); }
}

const requests = {
  path: "", status: "", limit: PAGE,
  async open(view) {
    this.gauges = el("div");
    this.chart = el("div");
    this.rows = el("div");
    const again = (change) => { Object.assign(this, change); this.look().catch(trouble); };
    view.replaceChildren(this.gauges, this.chart,
      el("div", { class: "tools" },
        choice("Path", [["", "every path"], ...["/import", "/track", "/engage", "/groups"].map((p) => [p, p])], this.path, (path) => again({ path })),
        Object.assign(field("Status", this.status, (status) => again({ status })), { id: "search" })),
      this.rows,
      el("p", {}, el("button", { onclick: () => again({ limit: this.limit + PAGE }) }, "Older requests")));
    await this.look();
  },
  async look() {
    const [quota, arrivals, { requests: rows }] = await Promise.all([
      ask("/emulator/quota"),
      ask("/emulator/counts?by=arrival&unit=minute"),
      ask(query("/emulator/requests", { order: "newest", limit: this.limit, path: this.path, status: this.status })),
    ]);
    this.gauges.replaceChildren(...quota.projects.map(gauge));
    const minutes = new Map(arrivals.periods.map((period) => [period.start, period]));
    const now = 60 * Math.floor(quota.now / 60);
    const starts = Array.from({ length: 60 }, (_, i) => now - 60 * (59 - i));
    const of = (start) => minutes.get(start) ?? { requests: 0, refused: 0 };
    this.chart.replaceChildren(chart(starts.map(clock), {
      requests: starts.map((start) => of(start).requests - of(start).refused),
      "429": starts.map((start) => of(start).refused),
    }));
    this.rows.replaceChildren(rows.length ? table([
      ["#", (row) => String(row.id), "n"],
      ["Arrived", (row) => clock(row.arrived), "t"],
      ["Path", (row) => row.path],
      ["Status", (row) => el("span", { class: statusClass(row.status) }, row.status === null ? "cut" : String(row.status))],
      ["Records", (row) => number.format(row.events), "n"],
      ["Accepted", (row) => number.format(row.accepted), "n"],
      ["New", (row) => number.format(row.stored), "n"],
      ["Duplicates", (row) => number.format(row.duplicates), "n"],
      ["Failed", (row) => number.format(row.failed), "n"],
      ["Bytes", (row) => number.format(row.raw_bytes), "n"],
      ["", (row) => (row.fault ? el("span", { class: "badge warn" }, `fault: ${row.fault}`) : row.error ?? "")],
    ], rows, (row) => showRequest(row), (row) => row.id) : el("p", { class: "empty" }, "No requests."));
  },
};

function statusClass(status) {
  return status === 200 ? "good" : status === 429 ? "warn" : "bad";
}

function gauge(project) {
  if (project.quota === null) return el("p", { class: "dim" }, `Project ${project.project}: no quota.`);
  const meter = el("meter", { min: 0, max: project.requests, value: project.used, high: project.requests * 0.95, "aria-label": `Quota of project ${project.project}` });
  const wait = project.free_in > 0 ? `; the next one may come in ${Math.ceil(project.free_in)} s` : "";
  return el("div", { class: "gauge" }, meter, el("span", {},
    `Project ${project.project}: ${number.format(project.used)} of ${number.format(project.requests)} requests used in ${project.quota.split("/")[1]}${wait}`));
}

function showRequest(row) {
  const { id, ...rest } = row;
  detail(`Request ${id}`, pairs({ ...rest, arrived: clock(row.arrived), finished: clock(row.finished), took_ms: row.finished ? Math.round(1000 * (row.finished - row.arrived)) : null }));
}

async function openRequest(id) {
  try {
    const { requests: rows } = await ask(query("/emulator/requests", { limit: 1, offset: id - 1 }));
    if (rows.length) showRequest(rows[0]);
  } catch (error) { trouble(error); }
}

const PRESETS = [
  ["429, retry after 5 s", [{ kind: "rate_limit", retry_after: "5" }]],
  ["503 three times", [{ kind: "status", status: 503, times: 3 }]],
  ["Reset after storing", [{ kind: "reset", stored: true }]],
  ["401", [{ kind: "status", status: 401 }]],
  ["Slow, 10 s", [{ kind: "slow", seconds: 10 }]],
  ["One in five, at random", { seed: 7, rate: 0.2 }],
];

const faults = {
  async open(view) {
    this.left = el("pre", { id: "left" });
    this.said = el("p", { role: "status" });
    const plan = el("textarea", { id: "plan", "aria-label": "Fault plan, as JSON", spellcheck: "false" });
    plan.value = JSON.stringify(PRESETS[0][1], null, 2);
    const apply = async (value) => {
      try {
        await post("/emulator/faults", value);
        this.said.textContent = "Set: the next requests meet it.";
        await this.look();
      } catch (error) { this.said.textContent = `Not set: ${error.message}`; }
    };
    const settings = await ask("/emulator/settings");
    const set = async (change) => {
      try {
        await post("/emulator/settings", change);
        this.said.textContent = "Changed.";
      } catch (error) { this.said.textContent = `Not changed: ${error.message}`; }
    };
    const quota = el("input", { "aria-label": "Quota", value: settings.projects[0].quota ?? "none" });
    const latency = el("input", { "aria-label": "Latency in ms", type: "number", min: 0, value: settings.latency_ms });
    view.replaceChildren(
      el("h2", {}, "Let the next requests fail"),
      el("div", { class: "tools" }, PRESETS.map(([name, value]) => el("button", {
        onclick: () => { plan.value = JSON.stringify(value, null, 2); apply(value); } }, name))),
      plan,
      el("div", { class: "tools" },
        el("button", { class: "main", onclick: () => {
          try { apply(JSON.parse(plan.value)); } catch (error) { this.said.textContent = `Not set: ${error.message}`; }
        } }, "Set this plan"),
        el("button", { onclick: async () => { await ask("/emulator/faults", { method: "DELETE" }); this.said.textContent = "No more faults."; await this.look(); } }, "No faults")),
      this.said,
      el("h2", {}, "What is left of the plan"), this.left,
      el("h2", {}, "Settings"),
      el("div", { class: "tools" },
        el("label", {}, "Answers of the "),
        choice("Variant", [["page", "product page"], ["reference", "API reference"]], settings.variant, (variant) => set({ variant })),
        el("label", {}, "Quota "), quota, el("button", { onclick: () => set({ quota: quota.value }) }, "Set quota"),
        el("label", {}, "Latency, ms "), latency, el("button", { onclick: () => set({ latency_ms: Number(latency.value) }) }, "Set latency")));
    await this.look();
  },
  async look() {
    this.left.textContent = JSON.stringify(await ask("/emulator/faults"), null, 2);
  },
};

// The page -------------------------------------------------------------------------------

const VIEWS = { events, users, requests, faults };
let current = null;
let busy = false;

async function show() {
  const name = location.hash.slice(1) in VIEWS ? location.hash.slice(1) : "events";
  current = VIEWS[name];
  closeDetail();
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${name[0].toUpperCase()}${name.slice(1)} · Mixpanel stand-in`;
  try { await current.open($("view")); trouble(null); } catch (error) { trouble(error); }
}

async function totals() {
  const stats = await ask("/emulator/stats");
  $("totals").textContent =
    `${number.format(stats.events_distinct)} events · ${number.format(stats.requests)} requests · ` +
    `${number.format(stats.duplicates)} duplicates · ${number.format(stats.events_failed)} failed`;
}

function isLive() {
  return $("live").getAttribute("aria-pressed") === "true" && !document.hidden;
}

async function tick() {
  if (isLive() && !busy) {
    busy = true;
    try { await Promise.all([totals(), current.look()]); trouble(null); } catch (error) { trouble(error); }
    busy = false;
  }
  setTimeout(tick, 1000);
}

function move(step) {
  const rows = [...$("view").querySelectorAll("tr[tabindex]")];
  const at = rows.indexOf(document.activeElement);
  rows[Math.min(rows.length - 1, Math.max(0, at + step))]?.focus();
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") {
    closeDetail();
    document.activeElement?.blur();
    return;
  }
  if (event.target.closest("input, textarea, select")) return;
  const link = document.querySelector(`nav a[data-key="${CSS.escape(event.key)}"]`);
  if (link) location.hash = link.hash;
  else if (event.key === "/") { $("search")?.focus(); event.preventDefault(); }
  else if (event.key === "j" || event.key === "ArrowDown") { move(1); event.preventDefault(); }
  else if (event.key === "k" || event.key === "ArrowUp") { move(-1); event.preventDefault(); }
  else if (event.key === "p") $("live").click();
  else if (event.key === "?") $("help").showModal();
  else if (event.key === "Enter" && event.target.matches("tr[tabindex]")) event.target.click();
}

$("live").addEventListener("click", () => {
  $("live").setAttribute("aria-pressed", String($("live").getAttribute("aria-pressed") !== "true"));
});
$("keys").addEventListener("click", () => $("help").showModal());
addEventListener("hashchange", show);
addEventListener("keydown", onKey);
await show();
tick();
