// <tandem-alarms [empty="No alarms"]>: all alarms that are raised or not acknowledged, with a
// button to acknowledge each. Shape and number say the priority as well as the colour does.

import { TandemElement, clockTime, describeOutcome, schedule, span } from "./base.js";

const PRIORITIES = ["critical", "high", "medium", "low"];

const CSS = `
:host { display: block; }
ul { list-style: none; margin: 0; padding: 0; }
li { display: grid; grid-template-columns: auto 1fr auto; gap: .1em .75em; align-items: center;
  padding: .55em .25em; border-block-end: 1px solid var(--_line); }
li:last-child { border-block-end: 0; }
[part=empty] { color: var(--_quiet); padding: .75em .25em; }
svg { inline-size: 1.9em; block-size: 1.9em; grid-row: span 2; color: var(--_p); }
svg text { font: 700 11px/1 system-ui, sans-serif; text-anchor: middle; fill: var(--_panel); }
[data-priority=critical] { --_p: var(--_critical); }
[data-priority=high] { --_p: var(--_high); }
[data-priority=medium] { --_p: var(--_medium); }
[data-priority=low] { --_p: var(--_low); }
li:not([data-raised]) svg { color: var(--_quiet); }
li[data-acked] svg { opacity: .8; }
[part=text] { font-weight: 600; overflow-wrap: anywhere; }
li[data-acked] [part=text] { font-weight: 400; }
[part=about] { grid-column: 2; color: var(--_quiet); font-size: .85em;
  font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
[part=ack] { grid-column: 3; grid-row: 1 / span 2; min-inline-size: 4em; }
li:not([data-acked])[data-raised] svg path { animation: blink 1.2s steps(2, jump-none) infinite; }
@keyframes blink { from { fill-opacity: 1; } to { fill-opacity: .35; } }
@media (prefers-reduced-motion: reduce) { svg path { animation: none !important; } }
`;

const SHAPES = {
  critical: "M2 2h24v24H2z",
  high: "M14 1 27 26H1z",
  medium: "M1 3h26L14 27z",
  low: "M14 1 27 14 14 27 1 14z",
};
const TEXT_AT = { critical: 18, high: 22, medium: 14, low: 18 };

export class TandemAlarms extends TandemElement {
  #rows = new Map();
  #acking = new Map();
  #paint = () => this.#draw();

  attach(session) {
    this.build(CSS, `<div part="empty" role="status"></div><ul part="list"></ul>`);
    const again = () => schedule(this.#paint);
    for (const [id, operation] of session.pending) {
      if (operation.op === "ack") this.#acking.set(operation.alarm, { id, raise: operation.raise });
    }
    this.onpointerleave = again;
    const clock = setInterval(again, 1000);
    this.keep(
      ...["state", "alarm_change", "stale"].map((type) => session.on(type, again)),
      session.on("pending", ({ id, operation }) => {
        if (operation.op !== "ack") return;
        this.#acking.set(operation.alarm, { id, raise: operation.raise });
        again();
      }),
      session.on("write_outcome", (event) => this.#outcome(event)),
      () => clearInterval(clock),
    );
    again();
  }

  #outcome(event) {
    for (const [name, acking] of this.#acking) {
      if (acking.id !== event.id) continue;
      if (event.outcome === "applied") this.#acking.delete(name);
      else this.#acking.set(name, { ...acking, id: null, words: describeOutcome(event) });
    }
    schedule(this.#paint);
  }

  #draw() {
    const { session, shadowRoot } = this;
    const list = shadowRoot.querySelector("ul");
    const alarms = [...session.alarms.values()].sort(inOrder);
    for (const [name, row] of this.#rows) {
      if (session.alarms.has(name)) continue;
      row.remove();
      this.#rows.delete(name);
      this.#acking.delete(name);
    }
    // A row does not move away from under a pointer that is about to press.
    const rest = this.matches(":hover");
    for (const alarm of alarms) {
      let row = this.#rows.get(alarm.name);
      if (!row) {
        row = makeRow(alarm);
        row.querySelector("button").onclick = () => this.#ack(alarm.name);
        this.#rows.set(alarm.name, row);
        list.append(row);
      }
      this.#fill(row, alarm);
    }
    if (!rest) {
      alarms.forEach(({ name }, at) => {
        const row = this.#rows.get(name);
        if (list.children[at] !== row) list.insertBefore(row, list.children[at] ?? null);
      });
    }
    const open = alarms.filter((alarm) => !alarm.acked).length;
    this.dataset.count = alarms.length;
    this.dataset.unacked = open;
    const words = session.state === "connecting" ? "…" : (this.getAttribute("empty") ?? "No alarms");
    const empty = shadowRoot.querySelector("[part=empty]");
    empty.hidden = alarms.length > 0;
    if (empty.textContent !== words) empty.textContent = words;
    for (const counter of document.querySelectorAll("[data-tandem-alarms]")) {
      counter.textContent = alarms.length ? `${open} of ${alarms.length} not acknowledged` : "none";
    }
  }

  #ack(name) {
    const alarm = this.session.alarms.get(name);
    if (alarm) this.session.ack(name, alarm.raise);
  }

  #fill(row, alarm) {
    const acking = this.#acking.get(alarm.name);
    const mine = acking?.raise === alarm.raise ? acking : undefined;
    row.toggleAttribute("data-raised", alarm.raised);
    row.toggleAttribute("data-acked", alarm.acked);
    const age = span(Math.max(0, Math.floor((Date.now() - alarm.since) / 1000)) * 1000, true);
    const how = alarm.raised ? "Active" : "Normal for";
    const who = alarm.acked ? `, acknowledged${by(alarm.acked_by)}` : "";
    const { shelved } = alarm;
    const aside = shelved && shelved.until > Date.now()
      ? `, shelved until ${clockTime(shelved.until)}${by(shelved.by)}`
      : "";
    const about = `${how} ${age}, since ${clockTime(alarm.since)}${who}${aside}`;
    setText(row.querySelector("[part=about]"), mine?.words ? `${about}; ${mine.words}` : about);
    const button = row.querySelector("button");
    button.hidden = alarm.acked;
    button.disabled = Boolean(mine?.id);
    setText(button, mine?.id ? "…" : "Ack");
    button.ariaLabel = `Acknowledge ${alarm.text || alarm.name}`;
  }
}

function by(person) {
  return person ? ` by ${person}` : "";
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function makeRow(alarm) {
  const row = document.createElement("li");
  const priority = String(alarm.priority).toLowerCase();
  row.dataset.priority = priority;
  row.dataset.alarm = alarm.name;
  row.innerHTML = `<svg viewBox="0 0 28 28" role="img" aria-label="${priority} priority"
    ><path fill="currentColor" d="${SHAPES[priority] ?? SHAPES.low}"/><text x="14" y="${
      TEXT_AT[priority] ?? 18
    }">${PRIORITIES.indexOf(priority) + 1}</text></svg><span part="text"></span
    ><button part="ack" type="button"></button><span part="about"></span>`;
  row.querySelector("[part=text]").textContent = alarm.text || alarm.name;
  return row;
}

function inOrder(a, b) {
  const rank = (alarm) =>
    (alarm.acked ? 100 : 0) + (alarm.raised ? 0 : 10) + PRIORITIES.indexOf(alarm.priority);
  return rank(a) - rank(b) || b.since - a.since;
}
