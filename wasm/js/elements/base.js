// What all elements share: how they find the session, paint, and look by default.

let current = null;
const waiting = new Set();

/** Makes `session` the one that all elements of this document use. */
export function provideSession(session) {
  current = session;
  for (const call of waiting) call(session);
  waiting.clear();
}

/** The document's session, once there is one. */
export function currentSession() {
  return current;
}

/** An element that lives with the document's session. */
export class TandemElement extends HTMLElement {
  #offs = [];
  #start = null;

  connectedCallback() {
    this.#start = (session) => {
      this.session = session;
      this.attach(session);
    };
    if (current) this.#start(current);
    else waiting.add(this.#start);
  }

  disconnectedCallback() {
    waiting.delete(this.#start);
    for (const off of this.#offs.splice(0)) off();
  }

  attributeChangedCallback(_name, before, after) {
    if (before === after || !this.isConnected || !this.session) return;
    for (const off of this.#offs.splice(0)) off();
    this.attach(this.session);
  }

  /** Runs `off` when the element leaves the page. */
  keep(...offs) {
    this.#offs.push(...offs);
  }

  /** A number of an attribute, or `otherwise`. */
  number(name, otherwise = undefined) {
    const text = this.getAttribute(name);
    const value = text === null || text.trim() === "" ? NaN : Number(text);
    return Number.isNaN(value) ? otherwise : value;
  }

  /** Fills the shadow root once. */
  build(css, html) {
    if (this.shadowRoot) return this.shadowRoot;
    const root = this.attachShadow({ mode: "open" });
    root.adoptedStyleSheets = [sheet(BASE), sheet(css)];
    root.innerHTML = html;
    return root;
  }
}

const sheets = new Map();

function sheet(css) {
  if (!sheets.has(css)) {
    const made = new CSSStyleSheet();
    made.replaceSync(css);
    sheets.set(css, made);
  }
  return sheets.get(css);
}

/** Colours follow the page: set `--tandem-*` on any ancestor. Colour means abnormal. */
const BASE = `
:host {
  --_ink: var(--tandem-ink, CanvasText);
  --_quiet: var(--tandem-quiet, color-mix(in srgb, CanvasText 62%, Canvas));
  --_line: var(--tandem-line, color-mix(in srgb, CanvasText 22%, Canvas));
  --_panel: var(--tandem-panel, Canvas);
  --_field: var(--tandem-field, Canvas);
  --_live: var(--tandem-live, var(--_ink));
  --_accent: var(--tandem-accent, #2f6f9f);
  --_critical: var(--tandem-critical, #d01f2e);
  --_high: var(--tandem-high, #d97500);
  --_medium: var(--tandem-medium, #b58900);
  --_low: var(--tandem-low, #7a5ba8);
  box-sizing: border-box;
}
:host([hidden]), [hidden] { display: none !important; }
*, *::before, *::after { box-sizing: border-box; }
button, input, textarea { font: inherit; color: inherit; }
button {
  min-block-size: 2.25em; padding-inline: .9em; border: 1px solid var(--_line);
  border-radius: 4px; background: color-mix(in srgb, var(--_ink) 7%, var(--_panel));
  cursor: pointer; touch-action: manipulation;
}
button:hover:not(:disabled) { background: color-mix(in srgb, var(--_ink) 13%, var(--_panel)); }
button:disabled { cursor: default; opacity: .55; }
:focus-visible { outline: 2px solid var(--_accent); outline-offset: 2px; }
`;

const toPaint = new Set();

/** Nobody reads faster: what is saved here is free for the socket when a gateway is lost. */
const PAINT_MS = 100;
let painted = -PAINT_MS;

/** Runs `paint` soon, once however often it was asked for, and at most ten times a second. */
export function schedule(paint) {
  if (toPaint.size === 0) {
    const wait = Math.max(0, painted + PAINT_MS - performance.now());
    setTimeout(requestAnimationFrame, wait, () => {
      painted = performance.now();
      const all = [...toPaint];
      toPaint.clear();
      for (const one of all) one();
    });
  }
  toPaint.add(paint);
}

/** A value as people read it. */
export function show(value, digits) {
  if (typeof value === "number") {
    const text = digits === undefined ? String(value) : value.toFixed(digits);
    return text.replace(/^-(?=.*[1-9])/, "−").replace(/^-/, "");
  }
  if (typeof value === "boolean") return value ? "on" : "off";
  return value ?? "—";
}

/** A time of day. */
export function clockTime(unixMs) {
  return new Date(unixMs).toLocaleTimeString(undefined, { hour12: false });
}

/** A span as people say it; `whole` where tenths would only flicker. */
export function span(ms, whole = false) {
  if (whole && ms < 120_000) return `${Math.round(ms / 1000)} s`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 10_000) return `${(ms / 1000).toFixed(1)} s`;
  if (ms < 120_000) return `${Math.round(ms / 1000)} s`;
  return `${Math.round(ms / 60_000)} min`;
}

/** What became of an operation, in words. */
export function describeOutcome({ outcome, copies, reason }) {
  switch (outcome) {
    case "applied":
      return copies === 1 ? "applied, on one gateway only" : "applied";
    case "rejected":
      return `rejected: ${reason}`;
    case "expired":
      return "not applied: no gateway took it in time";
    default:
      return "unknown whether it was applied: check the value";
  }
}
