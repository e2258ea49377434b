// Makes every call of npm's mixpanel library and prints, as JSON, which of them failed.
const Mixpanel = require("mixpanel");

const { host, token, secret } = JSON.parse(process.argv[2]);
const quiet = { trace() {}, debug() {}, info() {}, warn() {}, error() {} };
const options = { host, protocol: "https", logger: quiet };
const plain = Mixpanel.init(token, options);
const verbose = Mixpanel.init(token, { ...options, verbose: true });
const importer = Mixpanel.init(token, { ...options, secret });
const locating = Mixpanel.init(token, { ...options, geolocate: true });
const stranger = Mixpanel.init("bogus", { ...options, verbose: true });
const thief = Mixpanel.init(token, { ...options, secret: "wrong" });

const longAgo = 1600000000;
const calls = {
  track: (done) => plain.track("track", { distinct_id: "u" }, done),
  "track verbose": (done) => verbose.track("track verbose", { distinct_id: "u" }, done),
  "track geolocated": (done) => locating.track("located", { distinct_id: "u" }, done),
  track_batch: (done) => {
    const events = Array.from({ length: 120 }, (_, n) => ({
      event: "track_batch",
      properties: { distinct_id: `u${n}`, time: new Date() },
    }));
    plain.track_batch(events, done);
  },
  import: (done) => importer.import("import", new Date(longAgo * 1000), { distinct_id: "u" }, done),
  import_batch: (done) => {
    const events = Array.from({ length: 120 }, (_, n) => ({
      event: "import_batch",
      properties: { distinct_id: `u${n}`, time: longAgo + n },
    }));
    importer.import_batch(events, done);
  },
  alias: (done) => plain.alias("old", "new", done),
  "people.set": (done) => plain.people.set("p", { a: 1, l: ["x"], n: 1 }, done),
  "people.set one": (done) => verbose.people.set("p", "b", 2, done),
  "people.set_once": (done) => plain.people.set_once("p", { a: 9, c: 3 }, done),
  "people.increment": (done) => plain.people.increment("p", "n", 2, done),
  "people.increment by 1": (done) => plain.people.increment("p", "n", done),
  "people.append": (done) => plain.people.append("p", { l: "x" }, done),
  "people.union": (done) => plain.people.union("p", { l: ["y"], m: "z" }, done),
  "people.remove": (done) => plain.people.remove("p", { l: "x" }, done),
  "people.unset": (done) => plain.people.unset("p", "c", done),
  "people.track_charge": (done) =>
    plain.people.track_charge("p", 9.5, { $time: new Date(longAgo * 1000) }, done),
  "people.set with modifiers": (done) =>
    plain.people.set("q", { a: 1 }, { $ip: "9.9.9.9", $time: longAgo, $ignore_alias: true }, done),
  "people.clear_charges": (done) => plain.people.clear_charges("q", done),
  "people.set to delete": (done) => plain.people.set("gone", { a: 1 }, done),
  "people.delete_user": (done) => plain.people.delete_user("gone", done),
  "groups.set": (done) => plain.groups.set("company", "acme", { a: 1, l: ["x"] }, done),
  "groups.set_once": (done) => plain.groups.set_once("company", "acme", { a: 2, b: 2 }, done),
  "groups.union": (done) => plain.groups.union("company", "acme", { l: ["x", "y"] }, done),
  "groups.remove": (done) => plain.groups.remove("company", "acme", { l: "x" }, done),
  "groups.unset": (done) => plain.groups.unset("company", "acme", "b", done),
  "groups.set to delete": (done) => plain.groups.set("company", "gone", { a: 1 }, done),
  "groups.delete_group": (done) => plain.groups.delete_group("company", "gone", done),
  "wrong: an old event": (done) =>
    plain.track("old", { distinct_id: "u", time: new Date(longAgo * 1000) }, done),
  "wrong: a token": (done) => stranger.track("stranger", { distinct_id: "u" }, done),
  "wrong: a secret": (done) => thief.import("import", longAgo, { distinct_id: "u" }, done),
};

(async () => {
  const failed = {};
  // One after the other: updates of a profile keep their order only so.
  for (const [name, call] of Object.entries(calls)) {
    const error = await new Promise((resolve) => call(resolve));
    if (error) failed[name] = String(error);
  }
  console.log(JSON.stringify({ calls: Object.keys(calls), failed }));
  process.exit(0);
})();
