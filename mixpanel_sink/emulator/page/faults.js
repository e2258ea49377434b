// Faults and settings: what the next requests meet.

import { ask, post } from "./api.js";
import { choice, el } from "./dom.js";

const PRESETS = [
  ["429, retry after 5 s", [{ kind: "rate_limit", retry_after: "5" }]],
  ["503 three times", [{ kind: "status", status: 503, times: 3 }]],
  ["Reset after storing", [{ kind: "reset", stored: true }]],
  ["401", [{ kind: "status", status: 401 }]],
  ["Slow, 10 s", [{ kind: "slow", seconds: 10 }]],
  ["One in five, at random", { seed: 7, rate: 0.2 }],
];

export const faults = {
  title: "Faults",
  async open(view) {
    this.left = el("pre", { id: "left", class: "code", tabindex: 0 });
    this.said = el("p", { class: "told", role: "status" });
    const settings = await ask("/emulator/settings");
    view.replaceChildren(el("div", { class: "columns" },
      el("section", { class: "card padded" }, el("h2", {}, "Let the next requests fail"), this.planForm(), this.said),
      el("section", { class: "card padded" }, el("h2", {}, "What is left of the plan"), this.left, el("h2", {}, "Settings"), this.settingsForm(settings), this.resetForm())));
    await this.look();
  },
  update: () => true,
  planForm() {
    const plan = el("textarea", { id: "plan", "aria-label": "Fault plan, as JSON", spellcheck: "false" });
    plan.value = JSON.stringify(PRESETS[0][1], null, 2);
    const apply = (value) => this.told("Set: the next requests meet it.", "Not set", () => post("/emulator/faults", value));
    return el("div", {},
      el("div", { class: "tools" }, PRESETS.map(([name, value]) => el("button", {
        type: "button", onclick: () => { plan.value = JSON.stringify(value, null, 2); apply(value); } }, name))),
      plan,
      el("div", { class: "tools" },
        el("button", { type: "button", class: "main", onclick: () => {
          try { apply(JSON.parse(plan.value)); } catch (error) { this.said.textContent = `Not set: ${error.message}`; }
        } }, "Set this plan"),
        el("button", { type: "button", onclick: () => this.told("No more faults.", "Not dropped", () => ask("/emulator/faults", { method: "DELETE" })) }, "No faults")));
  },
  settingsForm(settings) {
    const set = (change) => this.told("Changed.", "Not changed", () => post("/emulator/settings", change));
    const quota = el("input", { "aria-label": "Quota", value: settings.projects[0].quota ?? "none" });
    const latency = el("input", { "aria-label": "Latency in ms", type: "number", min: 0, value: settings.latency_ms });
    const row = (label, ...parts) => el("div", { class: "setting" }, el("span", {}, label), parts);
    return el("div", {},
      row("Answers like the", choice("Variant", [["page", "product page"], ["reference", "API reference"]], settings.variant, (variant) => set({ variant }))),
      row("Quota", quota, el("button", { type: "button", onclick: () => set({ quota: quota.value }) }, "Set quota")),
      row("Latency, ms", latency, el("button", { type: "button", onclick: () => set({ latency_ms: Number(latency.value) }) }, "Set latency")));
  },
  resetForm() {
    const sure = () => confirm("Forget all events, profiles, requests and faults?");
    return el("div", { class: "setting" }, el("span", {}, "Start again"),
      el("button", { type: "button", class: "danger", onclick: () => sure() && this.told("Everything is forgotten.", "Not reset", () => post("/emulator/reset", {})) }, "Reset everything"));
  },
  async told(good, bad, act) {
    try {
      await act();
      this.said.textContent = good;
      await this.look();
    } catch (error) { this.said.textContent = `${bad}: ${error.message}`; }
  },
  async look() {
    this.left.textContent = JSON.stringify(await ask("/emulator/faults"), null, 2);
  },
};
