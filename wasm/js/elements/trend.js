// <tandem-trend tag="A, B" [seconds=120] [min] [max] [low] [high] [digits] [unit] [labels="a, b"]>:
// the last minutes of up to four tags. The line goes on over a switch, a page and a reload, and
// says where no gateway served this page.

import { TandemElement, clockTime, show, span } from "./base.js";
import { paintTrend } from "./paint.js";

const CSS = `
:host { display: flex; flex-direction: column; gap: .4em; min-block-size: 9em;
  --_t0: var(--tandem-trend-1, #3b78a8); --_t1: var(--tandem-trend-2, #8a6d3b);
  --_t2: var(--tandem-trend-3, #5b8a5b); --_t3: var(--tandem-trend-4, #84598f); }
[part=legend] { display: flex; flex-wrap: wrap; gap: .1em 1.2em; font-size: .85em; color: var(--_quiet);
  font-variant-numeric: tabular-nums; }
[part=legend] i { display: inline-block; inline-size: 1.3em; block-size: .2em; margin-inline-end: .45em;
  vertical-align: .25em; background: var(--_c); }
[part=legend] b { color: var(--_ink); font-weight: 600; }
[part=plot] { position: relative; flex: 1 1 auto; min-block-size: 6em; }
canvas { position: absolute; inset: 0; inline-size: 100%; block-size: 100%; touch-action: pan-y; }
`;

/** A picture is drawn so often: a trend of minutes needs no more. */
const FRAME_MS = 100;
/** Points that are handed to the next page, for each tag. */
const CARRIED_POINTS = 240;
/** Points held for each tag: two minutes of a 10 ms tag. */
const POINTS_MAX = 12_000;

export class TandemTrend extends TandemElement {
  static observedAttributes = ["tag", "seconds", "min", "max", "low", "high", "digits", "unit"];
  #series = [];
  #marks = [];
  #loss = null;
  #ahead = -Infinity;
  #pointer = null;

  attach(session) {
    const root = this.build(CSS, `<div part="legend"></div><div part="plot"
      ><canvas role="img"></canvas></div>`);
    const canvas = root.querySelector("canvas");
    this.#series = this.#read(root.querySelector("[part=legend]"));
    this.seconds = this.number("seconds", 120);
    this.#restore(session.carried(this.#key));
    canvas.ariaLabel = `Trend of ${this.#series.map((one) => one.label).join(", ")}`;
    canvas.onpointermove = (event) => (this.#pointer = event.offsetX);
    canvas.onpointerleave = () => (this.#pointer = null);
    let running = true;
    const frame = () => {
      if (!running) return;
      this.#draw(canvas);
      setTimeout(requestAnimationFrame, FRAME_MS, frame);
    };
    requestAnimationFrame(frame);
    this.keep(
      () => (running = false),
      session.carry(this.#key, () => this.#take()),
      session.on("reconnecting", () => (this.#loss ??= { from: this.#newest(), text: "" })),
      session.on("transferred", ({ from, to }) => {
        this.#loss ??= { from: this.#newest(), text: "" };
        this.#loss.text = from && from !== to ? `${from} → ${to}` : `${to}`;
      }),
      ...this.#series.map((one) => session.watch(one.tag, (sample) => this.#add(one, sample))),
    );
  }

  get #key() {
    return `trend:${this.getAttribute("tag")}`;
  }

  #read(legend) {
    const labels = (this.getAttribute("labels") ?? "").split(",").map((text) => text.trim());
    legend.replaceChildren();
    const tags = this.getAttribute("tag").split(",").map((tag) => tag.trim()).filter(Boolean);
    return tags.slice(0, 4).map((tag, at) => {
      const label = labels[at] || tag.split("/").at(-1);
      const entry = document.createElement("span");
      entry.style.setProperty("--_c", `var(--_t${at})`);
      entry.append(document.createElement("i"), `${label} `, document.createElement("b"));
      legend.append(entry);
      return { tag, label, at, times: [], values: [], reading: entry.querySelector("b") };
    });
  }

  #add(one, { value, quality, time }) {
    const number = typeof value === "boolean" ? Number(value) : value;
    if (typeof number !== "number") return;
    // The node's clock and this machine's need not agree: the newest sample is "now".
    this.#ahead = Math.max(this.#ahead - 1, time - Date.now());
    const last = one.times.at(-1);
    // A value that was sampled before the last one is told again after a resume.
    if (last !== undefined && time <= last) return;
    if (this.#loss && this.session.state !== "reconnecting") this.#mend(time);
    one.times.push(time);
    one.values.push(quality === "bad" ? NaN : number);
    if (one.times.length > POINTS_MAX) {
      one.times.splice(0, POINTS_MAX / 4);
      one.values.splice(0, POINTS_MAX / 4);
    }
  }

  #mend(time) {
    const { from, text } = this.#loss;
    this.#loss = null;
    if (from === undefined || time - from < 0) return;
    const gap = time - from >= 1000 ? `no values for ${span(time - from)}` : "";
    const words = [text, gap].filter(Boolean).join(", ");
    if (words) this.#marks.push({ from, to: time, text: words });
  }

  #newest() {
    const times = this.#series.map((one) => one.times.at(-1)).filter((time) => time !== undefined);
    return times.length ? Math.max(...times) : undefined;
  }

  #now() {
    const ahead = Number.isFinite(this.#ahead) ? this.#ahead : 0;
    return Date.now() + ahead;
  }

  #draw(canvas) {
    const now = this.#now();
    const since = now - this.seconds * 1000;
    for (const one of this.#series) {
      // One point before the window keeps the line's left end.
      let drop = 0;
      while (one.times[drop + 1] < since) drop += 1;
      if (drop > 500) {
        one.times.splice(0, drop);
        one.values.splice(0, drop);
      }
      const value = one.values.at(-1);
      const unit = this.getAttribute("unit") ?? "";
      const text = value === undefined ? "—" : `${show(value, this.number("digits", 1))} ${unit}`;
      if (one.reading.textContent !== text) one.reading.textContent = text;
    }
    this.#marks = this.#marks.filter((mark) => mark.to > since);
    const loss = this.#loss && { from: this.#loss.from ?? now, to: now, text: "no values" };
    paintTrend(canvas, getComputedStyle(this), {
      now,
      since,
      series: this.#series,
      marks: loss && this.session.stale ? [...this.#marks, loss] : this.#marks,
      held: this.session.stale && loss ? loss.from : now,
      limits: [this.number("low"), this.number("high")].filter((limit) => limit !== undefined),
      range: [this.number("min"), this.number("max")],
      digits: this.number("digits", 1),
      pointer: this.#pointer,
      clockTime,
    });
  }

  #take() {
    const series = this.#series.map(({ tag, times, values }) => {
      const step = Math.max(1, Math.ceil(times.length / CARRIED_POINTS));
      const points = [];
      for (let i = times.length - 1; i >= 0; i -= step) points.push([times[i], round(values[i])]);
      return { tag, points: points.reverse() };
    });
    return { series, marks: this.#marks, loss: this.#loss };
  }

  #restore(carried) {
    for (const { tag, points } of carried?.series ?? []) {
      const one = this.#series.find((one) => one.tag === tag);
      if (!one) continue;
      one.times = points.map(([time]) => time);
      one.values = points.map(([, value]) => value ?? NaN);
    }
    this.#marks = carried?.marks ?? [];
    this.#loss = carried?.loss ?? null;
  }
}

function round(value) {
  return Number.isFinite(value) ? Number(value.toPrecision(6)) : null;
}
