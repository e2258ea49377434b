// The emulator's JSON, and what the page knows about the emulator it came from.

export async function ask(path, options) {
  const answer = await fetch(path, options);
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.error ?? `${answer.status}`);
  return said;
}

export function query(path, given) {
  const kept = Object.entries(given).filter(([, value]) => value !== "" && value !== undefined && value !== null);
  return kept.length ? `${path}?${new URLSearchParams(kept)}` : path;
}

export function post(path, value) {
  const headers = { "Content-Type": "application/json" };
  return ask(path, { method: "POST", headers, body: JSON.stringify(value) });
}

export const about = await ask("/emulator/about").catch(() => ({ version: "" }));

const quoted = (value) => `'${String(value).replaceAll("'", "'\\''")}'`;

export function curlImport(events) {
  const url = `${location.origin}/import?strict=1&project_id=${about.project}`;
  return [
    `curl ${quoted(url)}`,
    `-u ${quoted(`${about.api_secret ?? about.token ?? "SECRET"}:`)}`,
    "-H 'Content-Type: application/json'",
    `--data ${quoted(JSON.stringify(events))}`,
  ].join(" \\\n  ");
}

export function curlRequest(row, body) {
  const auth = row.path === "/import" ? `-u ${quoted(`${about.api_secret ?? "SECRET"}:`)}` : null;
  return [
    `curl ${quoted(location.origin + row.path)}`, auth,
    "-H 'Content-Type: application/json'", `--data ${quoted(JSON.stringify(body))}`,
  ].filter(Boolean).join(" \\\n  ");
}

// Every state of the page has an address: #/events?search=x&open=12
export function route() {
  const [path, given] = location.hash.replace(/^#\/?/, "").split("?");
  return { view: path || "events", given: Object.fromEntries(new URLSearchParams(given ?? "")) };
}

export function address(view, given = {}) {
  return "#/" + query(view, given);
}

// `quietly`: the state changes while somebody types, which is not a page to come back to.
export function go(change, { view, quietly = false, fresh = false } = {}) {
  const now = route();
  const target = view ?? now.view;
  const given = fresh || target !== now.view ? change : { ...now.given, ...change };
  const next = address(target, given);
  if (next === location.hash) return;
  if (quietly) {
    history.replaceState(null, "", next);
    dispatchEvent(new Event("hashchange"));
  } else location.hash = next;
}
