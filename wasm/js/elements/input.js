// <tandem-input tag [min] [max] [digits] [unit] [type=number|text] [label]>: a setpoint.
// It shows the tag's value, and what became of the last write.
//
// <tandem-input prop [multiline] [rows] [placeholder] [label]>: a text kept in the session while
// it is typed: it survives a reload, a change of page and the loss of a gateway.

import { TandemElement, clockTime, describeOutcome, show } from "./base.js";

const CSS = `
:host { display: block; }
label { display: block; color: var(--_quiet); font-size: .85em; margin-block-end: .3em; }
label:empty { display: none; }
[part=row] { display: flex; gap: .5em; align-items: stretch; }
[part=field] { flex: 1 1 auto; min-inline-size: 0; inline-size: 100%; padding: .45em .6em;
  border: 1px solid var(--_line); border-radius: 4px; background: var(--_field);
  font-variant-numeric: tabular-nums; }
textarea[part=field] { resize: vertical; line-height: 1.45; }
[part=unit] { align-self: center; color: var(--_quiet); font-size: .85em; }
[part=unit]:empty { display: none; }
[part=state] { min-block-size: 1.4em; margin-block-start: .3em; font-size: .8em; line-height: 1.4;
  color: var(--_quiet); overflow-wrap: anywhere; }
:host([data-write=pending]) [part=state]::before { content: "● "; color: var(--_accent); }
:host([data-write=applied]) [part=state]::before { content: "✓ "; }
:host([data-write=rejected]) [part=state], :host([data-write=expired]) [part=state],
:host([data-write=unknown]) [part=state] { color: var(--_critical); }
:host([data-write=rejected]) [part=field], :host([data-write=expired]) [part=field],
:host([data-write=unknown]) [part=field] { border-color: var(--_critical); }
:host([data-dirty]) [part=field] { border-color: var(--_accent); }
:host([data-stale]:not([data-dirty]):not([prop])) [part=field] { opacity: .6; font-style: italic; }
`;

const HOW = "Enter sets it, Escape takes it back";
/** Typed text is kept after so long without a key, so that a burst of keys is one write. */
const DEBOUNCE_MS = 250;

export class TandemInput extends TandemElement {
  static observedAttributes = ["tag", "prop", "min", "max", "unit", "label", "type"];

  attach(session) {
    this.session = session;
    const prop = this.getAttribute("prop");
    const area = prop && this.hasAttribute("multiline");
    const root = this.build(
      CSS,
      `<label for="field"></label><div part="row">${
        area ? `<textarea part="field" id="field"></textarea>` : `<input part="field" id="field">`
      }<span part="unit"></span><button part="button" type="button">Set</button></div
      ><div part="state" role="status"></div>`,
    );
    this.field = root.querySelector("[part=field]");
    root.querySelector("label").textContent = this.getAttribute("label") ?? "";
    root.querySelector("[part=unit]").textContent = this.getAttribute("unit") ?? "";
    this.field.ariaLabel = this.getAttribute("label") ?? prop ?? this.getAttribute("tag");
    this.field.placeholder = this.getAttribute("placeholder") ?? "";
    const kind = prop ? new PropField(this, prop) : new TagField(this, this.getAttribute("tag"));
    root.querySelector("button").hidden = Boolean(prop);
    this.keep(
      session.carry(kind.key, () => kind.take()),
      ...kind.attach(session, session.carried(kind.key)),
    );
  }

  /** Shows what became of the last write. */
  tell(state, text) {
    if (state) this.dataset.write = state;
    else delete this.dataset.write;
    const line = this.shadowRoot.querySelector("[part=state]");
    if (line.textContent !== text) line.textContent = text;
  }

  get dirty() {
    return this.hasAttribute("data-dirty");
  }

  set dirty(dirty) {
    this.toggleAttribute("data-dirty", dirty);
  }
}

/** The typed text and the caret, for the page after this one. */
function takeField(element) {
  const { field } = element;
  const focused = element.shadowRoot.activeElement === field;
  if (!element.dirty && !focused) return undefined;
  const caret = focused && field.type !== "number" ? [field.selectionStart, field.selectionEnd] : null;
  return { text: field.value, dirty: element.dirty, focused, caret };
}

function restoreField(element, carried) {
  if (!carried) return false;
  const { field } = element;
  if (carried.dirty) field.value = carried.text;
  element.dirty = carried.dirty;
  if (carried.focused) {
    if (!carried.dirty) field.value = carried.text;
    field.focus({ preventScroll: true });
    if (carried.caret) field.setSelectionRange(...carried.caret);
  }
  return carried.dirty;
}

/** A tag that an operator writes. */
class TagField {
  constructor(element, tag) {
    this.element = element;
    this.tag = tag;
    this.key = `input:tag:${tag}`;
    this.id = null;
    this.number = (element.getAttribute("type") ?? "number") === "number";
  }

  attach(session, carried) {
    const { element } = this;
    const { field } = element;
    // A text field with a numeric keypad: a number field would swallow what it cannot read.
    field.inputMode = this.number ? "decimal" : "text";
    field.autocomplete = "off";
    element.shadowRoot.querySelector("button").onclick = () => this.send(session);
    field.oninput = () => {
      element.dirty = true;
      element.tell(null, HOW);
    };
    field.onkeydown = (event) => {
      if (event.key === "Enter") this.send(session);
      if (event.key === "Escape") this.revert(session);
    };
    const stale = () => element.toggleAttribute("data-stale", session.stale);
    stale();
    if (restoreField(element, carried)) element.tell(null, HOW);
    for (const [id, operation] of session.pending) {
      if (operation.op === "write" && operation.tag === this.tag) this.wait(id);
    }
    return [
      session.on("stale", stale),
      session.watch(this.tag, () => this.refresh(session)),
      session.on("pending", ({ id, operation }) => {
        if (operation.op === "write" && operation.tag === this.tag) this.wait(id);
      }),
      session.on("reconnecting", () => this.id !== null && this.wait(this.id, true)),
      session.on("write_outcome", (event) => this.outcome(session, event)),
    ];
  }

  take() {
    return takeField(this.element);
  }

  refresh(session) {
    const { element } = this;
    const sample = session.value(this.tag);
    if (element.dirty || this.id !== null || !sample) return;
    const text = show(sample.value, element.number("digits")).replace("−", "-");
    if (element.field.value !== text) element.field.value = text;
  }

  revert(session) {
    this.element.dirty = false;
    this.element.tell(null, "");
    this.refresh(session);
  }

  send(session) {
    const { element } = this;
    const text = element.field.value.trim();
    const value = this.number ? Number(text.replace(",", ".").replace("−", "-")) : text;
    const wrong = this.number && this.check(text, value);
    if (wrong) {
      element.tell("rejected", wrong);
      return;
    }
    element.dirty = false;
    session.write(this.tag, value);
  }

  /** Says at once what the gateway would say; the gateway decides in any case. */
  check(text, value) {
    const [min, max] = [this.element.number("min"), this.element.number("max")];
    if (text === "" || Number.isNaN(value)) return `"${text}" is not a number`;
    if (value < min) return `at least ${min}`;
    if (value > max) return `at most ${max}`;
    return null;
  }

  wait(id, away = this.element.session.state === "reconnecting") {
    this.id = id;
    this.element.tell("pending", away ? "kept here until a gateway answers" : "on its way");
  }

  outcome(session, event) {
    if (event.id !== this.id) return;
    this.id = null;
    const applied = event.outcome === "applied";
    const words = describeOutcome(event);
    const when = applied ? ` ${clockTime(Date.now())}` : "";
    this.element.tell(event.outcome, words + when);
    if (applied && event.operation) {
      session.value(this.tag) ?? (this.element.field.value = show(event.operation.value));
    }
    this.refresh(session);
  }
}

/** A text kept in the session's properties. */
class PropField {
  constructor(element, prop) {
    this.element = element;
    this.prop = prop;
    this.key = `input:prop:${prop}`;
    this.timer = 0;
    this.id = null;
  }

  attach(session, carried) {
    const { element } = this;
    const { field } = element;
    field.maxLength = 4000;
    if (element.hasAttribute("rows")) field.rows = element.number("rows", 3);
    field.oninput = () => {
      element.dirty = true;
      element.tell("pending", "keeping …");
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.save(session), DEBOUNCE_MS);
    };
    field.onblur = () => this.save(session);
    field.onchange = () => this.save(session);
    if (restoreField(element, carried)) this.save(session);
    else this.refresh(session);
    return [
      session.on("state", () => this.refresh(session)),
      session.on("reconnecting", () => this.waiting()),
      session.on("pending", ({ id, operation }) => {
        if (operation.op === "props" && this.prop in operation.props) {
          this.id = id;
          this.waiting();
        }
      }),
      session.on("write_outcome", (event) => this.outcome(session, event)),
      session.flushing(() => this.save(session)),
      () => clearTimeout(this.timer),
    ];
  }

  take() {
    return takeField(this.element);
  }

  waiting() {
    if (this.id === null && !this.element.dirty) return;
    const away = this.element.session.state === "reconnecting";
    this.element.tell("pending", away ? "kept here until a gateway answers" : "keeping …");
  }

  refresh(session) {
    if (this.element.dirty || this.id !== null) return;
    const text = String(session.props[this.prop] ?? "");
    if (this.element.field.value !== text) this.element.field.value = text;
  }

  save(session) {
    clearTimeout(this.timer);
    if (!this.element.dirty) return;
    this.element.dirty = false;
    session.setProps({ [this.prop]: this.element.field.value });
  }

  outcome(session, event) {
    if (event.id !== this.id) return;
    this.id = null;
    if (event.outcome === "applied") {
      if (!this.element.dirty) {
        const where = event.copies === 1 ? "on one gateway only" : "on both gateways";
        this.element.tell("applied", `kept ${where} ${clockTime(Date.now())}`);
      }
    } else if (event.outcome === "rejected") {
      this.element.tell("rejected", describeOutcome(event));
    } else if (!this.element.dirty) {
      // A text that may not have arrived is simply kept once more.
      this.element.dirty = true;
      this.save(session);
    }
  }
}
