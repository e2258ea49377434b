// Users and groups: profiles, the operations that made them, and users' events.

import { ask, go, query } from "./api.js";
import { clock, copyButton, el, empty, field, moment, number, refill, text } from "./dom.js";
import { code, tree } from "./tree.js";
import { table } from "./table.js";
import { snippet } from "./events.js";

const PAGE = 100;

function searchField(given) {
  return field("Search ids and properties", given.search, (search) => go({ search }, { quietly: true }), { id: "search", class: "wide-field" });
}

class List {
  async open(view, given) {
    this.given = given;
    this.rows = el("div");
    this.search = searchField(given);
    view.replaceChildren(el("div", { class: "tools" }, this.search), this.rows);
    this.shown = null;
    await this.look();
  }

  update(given) {
    const again = given.search !== this.given.search;
    refill({ search: this.search }, given);
    this.given = given;
    if (again) this.look();
    return true;
  }

  async look() {
    const rows = await this.load(this.given);
    const key = JSON.stringify(rows);
    if (key === this.shown) return;
    this.shown = key;
    this.rows.replaceChildren(rows.length ? this.draw(rows) : empty(el("p", {}, this.given.search ? `No ${this.what}s match.` : `No ${this.what}s yet.`), this.given.search ? null : this.hint()));
  }
}

class Users extends List {
  title = "Users";
  what = "user";

  async load({ search }) {
    const [{ users: ids }, { profiles }] = await Promise.all([
      ask(query("/emulator/users", { search, limit: PAGE })),
      ask(query("/emulator/profiles", { search, limit: PAGE })),
    ]);
    const known = new Map(profiles.map((profile) => [profile.$distinct_id, profile]));
    const rows = ids.map(({ id, distinct_id }) => ({ id, user: distinct_id, profile: known.get(id) }));
    const listed = new Set(ids.map(({ id }) => id));
    return [...rows, ...profiles.filter((p) => !listed.has(p.$distinct_id)).map((p) => ({ id: p.$distinct_id, user: p.$distinct_id, profile: p }))];
  }

  draw(rows) {
    return table([
      ["Id", (row) => el("span", { class: "strong", title: row.id }, row.id), "id"],
      ["Merged into", (row) => (row.user === row.id ? "" : el("span", { class: "pill" }, row.user)), "id spare"],
      ["Name", (row) => text(row.profile?.properties.$name ?? ""), "rest"],
      ["Email", (row) => text(row.profile?.properties.$email ?? ""), "rest spare"],
      ["Last seen (UTC)", (row) => moment(row.profile?.last_seen), "t wide"],
      ["Updates", (row) => (row.profile ? number(row.profile.updates) : ""), "n"],
    ], rows, { label: "Users", key: (row) => row.id, selected: this.given.open, open: (row) => go({ open: row.id, tab: "" }) });
  }

  hint() {
    return el("p", { class: "dim" }, "Users appear with the first event that names one, or the first update of /engage.");
  }

  async detail(given) {
    const found = await ask(query(`/emulator/users/${encodeURIComponent(given.open)}`, { limit: 50 }));
    const { properties, operations } = found.profile;
    return {
      title: found.distinct_id,
      kind: "User",
      actions: [
        el("a", { class: "button", href: "#/events?" + new URLSearchParams({ user: found.distinct_id }) }, "Events"),
        properties ? copyButton("Copy JSON", JSON.stringify(properties, null, 2)) : null,
      ],
      tabs: [
        ["Profile", () => [
          hot(found.hot_days),
          found.ids.length > 1 ? el("p", {}, "Merged: ", found.ids.map((id) => el("span", { class: "pill" }, id))) : null,
          profile(properties)]],
        [`Events (${number(found.events_count)})`, () => [found.events.length ? table([
          ["Time (UTC)", (row) => moment(row.event.properties.time), "t"],
          ["Event", (row) => el("a", { href: `#/events?open=${row.seq}` }, row.event.event), "name"],
        ], found.events, { label: "Events of the user", key: (row) => `event-${row.seq}`, open: (row) => go({ open: row.seq }, { view: "events" }) }) : empty("No events.")]],
        [`Operations (${number(operations.length)})`, () => operationList(operations)],
      ],
      tab: given.tab,
    };
  }
}

class Groups extends List {
  title = "Groups";
  what = "group";

  async load({ search }) {
    return (await ask(query("/emulator/groups", { search, limit: PAGE }))).groups;
  }

  draw(rows) {
    return table([
      ["Key", (row) => row.$group_key, "id"],
      ["Group", (row) => el("span", { class: "strong", title: row.$group_id }, row.$group_id), "id"],
      ["Name", (row) => text(row.properties.$name ?? ""), "rest"],
      ["Properties", (row) => number(Object.keys(row.properties).length), "n wide"],
      ["Last seen (UTC)", (row) => moment(row.last_seen), "t wide"],
      ["Updates", (row) => number(row.updates), "n"],
    ], rows, { label: "Groups", key: keyOf, selected: this.given.open, open: (row) => go({ open: keyOf(row), tab: "" }) });
  }

  hint() {
    const body = '[{"$token": "TOKEN", "$group_key": "company", "$group_id": "acme", "$set": {"plan": "premium"}}]';
    return snippet("Send an update", `curl '${location.origin}/groups?verbose=1' -H 'Content-Type: application/json' \\\n  --data '${body}'`, "h2");
  }

  async detail(given) {
    const [group_key, group_id] = JSON.parse(given.open);
    const { properties, operations } = await ask(query("/emulator/groups", { group_key, group_id }));
    return {
      title: group_id,
      kind: `Group of ${group_key}`,
      actions: [properties ? copyButton("Copy JSON", JSON.stringify(properties, null, 2)) : null],
      tabs: [["Profile", () => [profile(properties)]], [`Operations (${number(operations.length)})`, () => operationList(operations)]],
      tab: given.tab,
    };
  }
}

function hot(days) {
  const named = Object.entries(days).map(([day, count]) => `${number(count)} on ${clock(Number(day)).slice(0, 10)}`);
  return named.length ? el("p", { class: "note warn" }, `Mixpanel renames what a user sends beyond 200,000 events a day to $hotshard_events. This user has ${named.join(", ")}.`) : null;
}

const keyOf = (row) => JSON.stringify([row.$group_key, row.$group_id]);

function profile(properties) {
  if (properties === null) return empty("There is no profile: it was deleted, or never made.");
  return Object.keys(properties).length ? tree(properties) : empty("The profile has no properties.");
}

function operationList(operations) {
  if (!operations.length) return [empty("No operations.")];
  return operations.map(({ arrived, request, geolocation, update }) => {
    const { $token, $distinct_id, $group_key, $group_id, ...rest } = update;
    return el("section", { class: "operation" },
      el("p", { class: "dim" }, clock(arrived), " UTC, ", el("a", { href: `#/requests?open=${request}` }, `request ${request}`), geolocation ? `, from ${geolocation}` : ""),
      code(rest));
  });
}

export const users = new Users();
export const groups = new Groups();
