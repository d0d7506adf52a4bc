// <tandem-bar tag min max [low] [high] [setpoint=tag] [vertical]>: a value in its range. The
// normal range is a quiet band, the pointer takes colour only outside of it.

import { TandemElement, schedule, show } from "./base.js";
import { overLimit, setData } from "./value.js";

const CSS = `
:host { display: block; --_at: 0; --_from: 0; --_to: 1; }
[part=track] { position: relative; block-size: .85em; border: 1px solid var(--_line);
  background: color-mix(in srgb, var(--_ink) 4%, var(--_panel)); }
[part=normal] { position: absolute; inset-block: 0; left: calc(var(--_from) * 100%);
  right: calc((1 - var(--_to)) * 100%); background: color-mix(in srgb, var(--_ink) 15%, transparent); }
[part=fill] { display: none; position: absolute; inset: auto 0 0; block-size: calc(var(--_at) * 100%);
  background: color-mix(in srgb, var(--_ink) 30%, transparent); }
[part=pointer] { position: absolute; top: -.28em; bottom: -.28em; inline-size: .5em;
  left: calc(var(--_at) * 100% - .25em); background: var(--_live); clip-path:
  polygon(0 0, 100% 0, 62% 32%, 62% 68%, 100% 100%, 0 100%, 38% 68%, 38% 32%);
  transition: left .12s linear, top .12s linear; }
[part=setpoint] { position: absolute; top: -.2em; bottom: -.2em; inline-size: 2px;
  left: calc(var(--_set) * 100% - 1px); background: var(--_accent); }
:host([vertical]) { inline-size: 1.6em; block-size: 8em; }
:host([vertical]) [part=track] { block-size: 100%; }
:host([vertical]) [part=normal] { inset: auto 0; top: calc((1 - var(--_to)) * 100%);
  bottom: calc(var(--_from) * 100%); }
:host([vertical]) [part=fill] { display: block; }
:host([vertical]) [part=pointer] { inset-inline: -.2em; inline-size: auto; block-size: 3px;
  top: calc((1 - var(--_at)) * 100% - 1px); clip-path: none; }
:host([vertical]) [part=setpoint] { inset-inline: -.1em; inline-size: auto; block-size: 2px;
  top: calc((1 - var(--_set)) * 100% - 1px); }
:host([data-limit]) [part=pointer] { background: var(--_alarm, var(--_high)); }
:host([data-stale]) [part=pointer], :host([data-stale]) [part=fill] { opacity: .4; }
@media (prefers-reduced-motion: reduce) { [part=pointer] { transition: none; } }
`;

export class TandemBar extends TandemElement {
  static observedAttributes = ["tag", "min", "max", "low", "high", "setpoint"];
  #value = null;
  #paint = () => this.#draw();

  attach(session) {
    this.build(CSS, `<div part="track"><div part="normal"></div><div part="fill"></div
      ><div part="setpoint" hidden></div><div part="pointer" hidden></div></div>`);
    this.setAttribute("role", "meter");
    this.setAttribute("aria-valuemin", this.number("min", 0));
    this.setAttribute("aria-valuemax", this.number("max", 100));
    if (!this.hasAttribute("aria-label")) this.setAttribute("aria-label", this.getAttribute("tag"));
    this.style.setProperty("--_from", this.#ratio(this.number("low", -Infinity)));
    this.style.setProperty("--_to", this.#ratio(this.number("high", Infinity)));
    const stale = () => this.toggleAttribute("data-stale", session.stale);
    stale();
    this.keep(
      session.on("stale", stale),
      session.watch(this.getAttribute("tag"), ({ value }) => {
        this.#value = Number(value);
        schedule(this.#paint);
      }),
    );
    const setpoint = this.getAttribute("setpoint");
    if (setpoint) {
      this.keep(
        session.watch(setpoint, ({ value }) => {
          this.style.setProperty("--_set", this.#ratio(Number(value)));
          this.shadowRoot.querySelector("[part=setpoint]").hidden = false;
        }),
      );
    }
  }

  #ratio(value) {
    const [min, max] = [this.number("min", 0), this.number("max", 100)];
    return Math.min(1, Math.max(0, (value - min) / (max - min)));
  }

  #draw() {
    if (Number.isNaN(this.#value)) return;
    this.shadowRoot.querySelector("[part=pointer]").hidden = false;
    this.style.setProperty("--_at", this.#ratio(this.#value).toFixed(4));
    this.setAttribute("aria-valuenow", show(this.#value, 1));
    setData(this, "limit", overLimit(this, this.#value));
  }
}
