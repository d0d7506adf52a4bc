// <tandem-button tag [value]>: writes a fixed value at a press, and shows what became of it.

import { TandemElement, describeOutcome } from "./base.js";

const CSS = `
:host { display: inline-flex; align-items: center; gap: .6em; flex-wrap: wrap; }
[part=state] { font-size: .8em; color: var(--_quiet); }
:host([data-write=pending]) [part=state] { color: var(--_accent); }
:host([data-write=rejected]) [part=state], :host([data-write=expired]) [part=state],
:host([data-write=unknown]) [part=state] { color: var(--_critical); }
`;

export class TandemButton extends TandemElement {
  #open = 0;

  attach(session) {
    const root = this.build(CSS, `<button part="button" type="button"><slot>Set</slot></button
      ><span part="state" role="status"></span>`);
    root.querySelector("button").onclick = async () => {
      const text = this.getAttribute("value") ?? "1";
      const value = text !== "" && !Number.isNaN(Number(text)) ? Number(text) : text;
      this.#open += 1;
      this.#tell("pending", session.state === "live" ? "on its way" : "kept until a gateway answers");
      const outcome = await session.write(this.getAttribute("tag"), value);
      this.#open -= 1;
      const waits = this.#open > 0 && outcome.outcome === "applied";
      this.#tell(waits ? "pending" : outcome.outcome, describeOutcome(outcome));
    };
  }

  #tell(state, text) {
    this.dataset.write = state;
    this.shadowRoot.querySelector("[part=state]").textContent = text;
  }
}
