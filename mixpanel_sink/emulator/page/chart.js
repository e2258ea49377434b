// Charts of values over time: stacked bars or lines, with axes, grid lines and a tooltip. Drag
// over a chart to choose a range.

import { $, compact, el, number, sum, svg } from "./dom.js";

const LEFT = 46, RIGHT = 8, TOP = 10, BOTTOM = 24, HEIGHT = 170;
const MOST = 6;

// `series`: [{name, color, values}], one value for each of `starts` (epoch seconds, even steps).
export function chart({ title, starts, step, series, kind = "bars", unit = "", onrange, height = HEIGHT }) {
  const frame = el("figure", { class: "card chart" });
  const legend = series.length < 2 && kind === "lines" ? null : el("div", { class: "legend" }, series.map(({ name, color, values }) =>
    el("span", {}, el("i", { style: `background: ${color}` }), el("span", { class: "name", title: name }, name), el("b", {}, kind === "bars" ? number(sum(values)) : ""))));
  const place = el("div", { class: "plot" });
  frame.append(el("figcaption", {}, el("h2", {}, title), legend ?? ""), place);
  const draw = () => {
    const width = place.clientWidth;
    if (width) place.replaceChildren(plot({ title, starts, step, series, kind, unit, onrange, width, height }));
  };
  new ResizeObserver(draw).observe(place);
  return frame;
}

function plot({ title, starts, step, series, kind, unit, onrange, width, height }) {
  const totals = starts.map((_, i) => (kind === "bars" ? sum(series.map((one) => one.values[i])) : Math.max(0, ...series.map((one) => one.values[i] ?? 0))));
  const { top, ticks } = scale(Math.max(1, ...totals));
  const inner = width - LEFT - RIGHT;
  const x = (i) => LEFT + (inner * i) / Math.max(1, starts.length);
  const y = (value) => TOP + (height - TOP - BOTTOM) * (1 - value / top);
  const said = `${title}: ${series.map((one) => `${one.name} ${number(Math.round(sum(one.values)))}`).join(", ") || "nothing yet"}`;
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": said });
  for (const tick of ticks) {
    drawing.append(svg("line", { x1: LEFT, x2: width - RIGHT, y1: y(tick), y2: y(tick), class: tick ? "grid" : "axis" }));
    drawing.append(svg("text", { x: LEFT - 8, y: y(tick) + 4, class: "tick", "text-anchor": "end" }, compact(tick) + unit));
  }
  for (const [i, label] of timeTicks(starts, step, inner)) {
    drawing.append(svg("text", { x: x(i), y: height - 6, class: "tick", "text-anchor": "middle" }, label));
  }
  if (kind === "bars") drawBars(drawing, starts, series, x, y);
  else drawLines(drawing, starts, series, x, y);
  listen(drawing, { starts, step, series, x, inner, width, height, unit, onrange });
  return drawing;
}

function drawBars(drawing, starts, series, x, y) {
  const gap = x(1) - x(0) > 4 ? 1 : 0;
  starts.forEach((_, i) => {
    let base = 0;
    for (const { color, values } of series) {
      if (!values[i]) continue;
      const from = y(base), to = y(base + values[i]);
      drawing.append(svg("rect", { x: x(i) + gap, y: to, width: Math.max(1, x(i + 1) - x(i) - 2 * gap), height: Math.max(0.8, from - to), fill: color }));
      base += values[i];
    }
  });
}

function drawLines(drawing, starts, series, x, y) {
  for (const { color, values } of series) {
    let path = "", pen = false;
    starts.forEach((_, i) => {
      const value = values[i];
      if (value === null || value === undefined) { pen = false; return; }
      const here = `${(x(i) + x(i + 1)) / 2},${y(value)}`;
      path += pen ? `L${here}` : `M${here}`;
      pen = true;
    });
    values.forEach((value, i) => {
      const alone = value !== null && value !== undefined && (values[i - 1] ?? null) === null && (values[i + 1] ?? null) === null;
      if (alone) drawing.append(svg("circle", { cx: (x(i) + x(i + 1)) / 2, cy: y(value), r: 3.5, fill: color }));
    });
    drawing.append(svg("path", { d: path, fill: "none", stroke: color, "stroke-width": 2, "stroke-linecap": "round", "stroke-linejoin": "round" }));
  }
}

function listen(drawing, { starts, step, series, x, inner, height, unit, onrange }) {
  const shade = svg("rect", { y: TOP, height: height - TOP - BOTTOM, width: 0, class: "shade" });
  drawing.append(shade);
  const tip = $("tip");
  let from = null;
  const at = (event) => {
    const box = drawing.getBoundingClientRect();
    return Math.min(starts.length - 1, Math.max(0, Math.floor(((event.clientX - box.left - LEFT) / inner) * starts.length)));
  };
  const span = (a, b) => {
    shade.setAttribute("x", x(Math.min(a, b)));
    shade.setAttribute("width", x(Math.max(a, b) + 1) - x(Math.min(a, b)));
  };
  drawing.addEventListener("pointermove", (event) => {
    if (!starts.length) return;
    const i = at(event);
    span(from ?? i, i);
    tip.replaceChildren(el("b", {}, stamp(starts[i], step)), ...series.filter((one) => one.values[i]).map(({ name, color, values }) =>
      el("div", {}, el("i", { style: `background: ${color}` }), el("span", {}, name), el("b", {}, number(Math.round(values[i])) + unit))));
    tip.hidden = false;
    const left = event.clientX + 14 + tip.offsetWidth > innerWidth ? event.clientX - tip.offsetWidth - 14 : event.clientX + 14;
    tip.style.left = `${Math.max(4, left)}px`;
    tip.style.top = `${Math.min(event.clientY + 14, innerHeight - tip.offsetHeight - 4)}px`;
  });
  drawing.addEventListener("pointerleave", () => { tip.hidden = true; if (from === null) shade.setAttribute("width", 0); });
  if (!onrange) return;
  drawing.classList.add("ranged");
  drawing.addEventListener("pointerdown", (event) => {
    from = at(event);
    drawing.setPointerCapture(event.pointerId);
    drawing.dataset.held = "yes";  // it is not drawn again in the middle of this
  });
  drawing.addEventListener("pointerup", (event) => {
    if (from === null) return;
    const to = at(event);
    const [a, b] = [Math.min(from, to), Math.max(from, to)];
    from = null;
    delete drawing.dataset.held;
    shade.setAttribute("width", 0);
    tip.hidden = true;
    if (a !== b) onrange(starts[a], starts[b] + step);
  });
}

function scale(most) {
  const rough = most / 4, power = 10 ** Math.floor(Math.log10(rough));
  const size = Math.max(1, [1, 2, 2.5, 5, 10].map((n) => n * power).find((n) => n >= rough));
  const count = Math.max(1, Math.ceil(most / size));
  return { top: count * size, ticks: Array.from({ length: count + 1 }, (_, i) => i * size) };
}

function timeTicks(starts, step, width) {
  const count = Math.max(2, Math.min(8, Math.floor(width / 110)));
  const every = Math.max(1, Math.ceil(starts.length / count));
  return starts.map((start, i) => [i, stamp(start, step)]).filter(([i]) => i % every === 0 && i <= starts.length - every / 2);
}

export function stamp(seconds, step) {
  const iso = new Date(seconds * 1000).toISOString();
  return step >= 86400 ? iso.slice(0, 10) : iso.slice(5, 16).replace("T", " ");
}

// From counts by name and start to series over even steps; small names are added up.
export function stacked(counts, step, [from, to] = []) {
  const names = Object.keys(counts).sort((a, b) => total(counts[b]) - total(counts[a]));
  const all = names.flatMap((name) => Object.keys(counts[name]).map(Number));
  if (!all.length) return { starts: [], step, series: [] };
  let first = all.reduce((a, b) => Math.min(a, b)), last = all.reduce((a, b) => Math.max(a, b));
  if (from) first = Math.floor(from / step) * step;
  if (to) last = Math.max(first, Math.ceil(to / step) * step - step);
  const wide = step * Math.max(1, Math.ceil((last - first + step) / step / 200));
  const starts = [];
  for (let start = first; start <= last; start += wide) starts.push(start);
  const values = (name) => {
    const found = new Array(starts.length).fill(0);
    for (const [start, count] of Object.entries(counts[name])) found[Math.floor((start - first) / wide)] += count;
    return found;
  };
  const series = names.slice(0, MOST).map((name, i) => ({ name, color: `var(--c${i})`, values: values(name) }));
  const rest = names.slice(MOST).map(values);
  if (rest.length) series.push({ name: `${rest.length} others`, color: "var(--c6)", values: starts.map((_, i) => sum(rest.map((one) => one[i]))) });
  return { starts, step: wide, series };
}

const total = (periods) => sum(Object.values(periods));
