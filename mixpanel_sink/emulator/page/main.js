// The page: which view, which detail, what is new each second, and the keys.

import { about, ask, go, route } from "./api.js";
import { $, compact, el, number } from "./dom.js";
import { mark } from "./table.js";
import { events } from "./events.js";
import { groups, users } from "./people.js";
import { requests } from "./requests.js";
import { exports_, tables } from "./stores.js";
import { faults } from "./faults.js";

const VIEWS = { events, users, groups, requests, tables, exports: exports_, faults };
let current = null, opened = "", busy = false;

function trouble(error) {
  $("trouble").hidden = !error;
  $("trouble").textContent = error ? `The emulator does not answer: ${error.message}` : "";
}

async function show() {
  const { view, given } = route();
  const name = Object.hasOwn(VIEWS, view) ? view : "events";
  try {
    if (current !== VIEWS[name]) {
      current = VIEWS[name];
      for (const link of document.querySelectorAll("nav a")) {
        if (link.hash === `#/${name}`) {
          link.setAttribute("aria-current", "page");
          link.scrollIntoView({ block: "nearest", inline: "center" });
        } else link.removeAttribute("aria-current");
      }
      document.title = `${current.title} · Mixpanel emulator`;
      hide();
      const drawing = current.open($("view"), given);
      await Promise.all([drawing, detail(given)]);
    } else {
      current.update(given);
      await detail(given);
    }
    trouble(null);
  } catch (error) { trouble(error); }
}

// The detail of what is open, beside the view.
async function detail(given) {
  const key = given.open ? JSON.stringify([given.open, given.tab ?? ""]) : "";
  mark(given.open ?? null);
  if (!key || !current.detail) return hide();
  if (key === opened) return;
  opened = key;
  const found = await current.detail(given);
  if (opened !== key) return;
  if (!found) return hide();
  draw(found);
  mark(given.open);
}

function hide() {
  opened = "";
  $("detail").hidden = true;
}

function draw({ title, kind, actions, tabs, tab }) {
  const chosen = Math.max(0, tabs.findIndex(([name]) => slug(name) === tab));
  const bar = el("div", { class: "tabs", role: "tablist", "aria-label": "Parts" }, tabs.map(([name], i) => el("button", {
    type: "button", role: "tab", id: `tab-${i}`, "aria-selected": String(i === chosen), "aria-controls": "panel", tabindex: i === chosen ? 0 : -1,
    onclick: () => go({ tab: i ? slug(name) : "" }) }, name)));
  bar.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.stopPropagation();
    const next = (chosen + step + tabs.length) % tabs.length;
    go({ tab: next ? slug(tabs[next][0]) : "" });
    setTimeout(() => $(`tab-${next}`)?.focus(), 50);
  });
  const place = $("detail");
  place.replaceChildren(
    el("div", { class: "head" },
      el("div", {}, el("p", { class: "dim" }, kind), el("h2", { title }, title)),
      el("button", { type: "button", class: "icon close", "aria-label": "Close", title: "Close (Esc)", onclick: close }, "×")),
    el("div", { class: "actions" }, actions),
    tabs.length > 1 ? bar : "",
    el("div", { id: "panel", role: "tabpanel", tabindex: 0, "aria-labelledby": `tab-${chosen}` }, tabs[chosen][1]()));
  place.hidden = false;
  place.scrollTop = 0;
}

const slug = (name) => name.replace(/ \(.*/, "").toLowerCase().replaceAll(" ", "-");
const close = () => go({ open: "", tab: "" });

async function totals() {
  const stats = await ask("/emulator/stats");
  const tile = (label, value, kind) => el("div", { class: "tile" }, el("span", {}, label), el("b", { class: value ? kind : null, title: number(value) }, value < 1e6 ? number(value) : compact(value)));
  $("tiles").replaceChildren(
    tile("Events", stats.events_distinct), tile("Accepted", stats.events_accepted),
    tile("Duplicates", stats.duplicates, "warn"), tile("Failed", stats.events_failed, "bad"),
    tile("Dropped", stats.events_dropped, "warn"), tile("Profile updates", stats.engage_updates + stats.groups_updates), tile("Requests", stats.requests));
}

const isLive = () => $("live").getAttribute("aria-pressed") === "true" && !document.hidden;

async function tick() {
  if (isLive() && !busy) {
    busy = true;
    try { await Promise.all([totals(), current?.look()]); trouble(null); } catch (error) { trouble(error); }
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
    if (!$("detail").hidden) close();
    document.activeElement?.blur();
    return;
  }
  if (event.target.closest("input, textarea, select, dialog")) return;
  const link = document.querySelector(`nav a[data-key="${CSS.escape(event.key)}"]`);
  if (link) location.hash = link.hash;
  else if (event.key === "/") { $("search")?.focus(); event.preventDefault(); }
  else if (event.key === "j" || event.key === "ArrowDown") { move(1); event.preventDefault(); }
  else if (event.key === "k" || event.key === "ArrowUp") { move(-1); event.preventDefault(); }
  else if (event.key === "p") $("live").click();
  else if (event.key === "?") $("help").showModal();
  else if (event.key === "Enter" && event.target.matches("tr[tabindex]")) event.target.click();
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  localStorage.setItem("theme", theme);
}

$("live").addEventListener("click", () => {
  const live = $("live").getAttribute("aria-pressed") !== "true";
  $("live").setAttribute("aria-pressed", String(live));
  $("live").textContent = live ? "Live" : "Paused";
});
$("theme").addEventListener("click", () => {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const now = document.documentElement.dataset.theme || (dark ? "dark" : "light");
  setTheme(now === "dark" ? "light" : "dark");
});
if (localStorage.getItem("theme")) setTheme(localStorage.getItem("theme"));
$("keys").addEventListener("click", () => $("help").showModal());
$("version").textContent = about.version;
addEventListener("hashchange", show);
addEventListener("keydown", onKey);
show();
tick();
