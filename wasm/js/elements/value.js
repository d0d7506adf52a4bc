// <tandem-value tag [digits] [unit] [low] [high] [map="0:Stopped,1:Running"]>: one live value.
//
// The host gets `data-limit="low|high"`, `data-quality` and `data-stale` for a page's own styles.

import { TandemElement, clockTime, schedule, show } from "./base.js";

const CSS = `
:host { display: inline-flex; align-items: baseline; gap: .3em; white-space: nowrap;
  font-variant-numeric: tabular-nums; color: var(--_live); }
[part=unit] { color: var(--_quiet); font-size: .72em; font-weight: 400; }
[part=mark] { display: none; font-size: .8em; }
:host([data-limit]) { color: var(--_alarm, var(--_high)); }
:host([data-limit]) [part=mark] { display: inline; }
:host([data-stale]), :host([data-quality=stale]) { opacity: .55; font-style: italic; }
:host([data-quality=bad]) { color: var(--_quiet); }
:host([data-quality=bad]) [part=value] { text-decoration: line-through; }
`;

export class TandemValue extends TandemElement {
  static observedAttributes = ["tag", "digits", "unit", "low", "high", "map"];
  #sample = null;
  #paint = () => this.#draw();

  attach(session) {
    const root = this.build(CSS, `<span part="mark" aria-hidden="true"></span
      ><span part="value">—</span><span part="unit"></span>`);
    root.querySelector("[part=unit]").textContent = this.getAttribute("unit") ?? "";
    this.words = new Map(
      (this.getAttribute("map") ?? "").split(",").map((pair) => {
        const at = pair.indexOf(":");
        return [pair.slice(0, at).trim(), pair.slice(at + 1).trim()];
      }),
    );
    const stale = () => this.toggleAttribute("data-stale", session.stale);
    stale();
    this.onpointerenter = () => {
      const sample = this.#sample;
      this.title = sample
        ? `${sample.tag}, ${sample.quality}, ${clockTime(sample.time)}`
        : `${this.getAttribute("tag")}: no value yet`;
    };
    this.keep(
      session.on("stale", stale),
      session.watch(this.getAttribute("tag"), (sample) => {
        this.#sample = sample;
        schedule(this.#paint);
      }),
    );
  }

  #draw() {
    const { value, quality } = this.#sample;
    const word = this.words.get(String(value));
    const text = word ?? show(value, this.number("digits"));
    const node = this.shadowRoot.querySelector("[part=value]");
    if (node.textContent !== text) node.textContent = text;
    const limit = overLimit(this, value);
    setData(this, "quality", quality);
    if (setData(this, "limit", limit)) {
      this.shadowRoot.querySelector("[part=mark]").textContent = limit === "high" ? "▲" : "▼";
    }
  }
}

/** Whether a value is beyond the element's limits. */
export function overLimit(element, value) {
  if (value > element.number("high", Infinity)) return "high";
  if (value < element.number("low", -Infinity)) return "low";
  return undefined;
}

/** Sets a data attribute if it differs; says whether it did. */
export function setData(element, name, value) {
  if (element.dataset[name] === value) return false;
  if (value === undefined) delete element.dataset[name];
  else element.dataset[name] = value;
  return true;
}
