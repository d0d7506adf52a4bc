// <tandem-status>: which node serves this page, and whether its standby is ready.

import { TandemElement } from "./base.js";

const CSS = `
:host { display: inline-flex; align-items: center; gap: .55em; font-variant-numeric: tabular-nums; }
[part=lamp] { inline-size: .7em; block-size: .7em; border-radius: 50%; flex: none;
  border: 2px solid var(--_quiet); }
:host([data-state=live]) [part=lamp] { background: var(--_quiet); }
:host([data-state=reconnecting]) [part=lamp], :host([data-state=closed]) [part=lamp] {
  border-color: var(--_critical); background: none; border-radius: 0; }
[part=more] { color: var(--_quiet); }
`;

/** The standby's state is asked for so often; it decides nothing. */
const ASK_MS = 3000;

export class TandemStatus extends TandemElement {
  #standby = "";
  #ask = 0;

  attach(session) {
    this.build(CSS, `<span part="lamp"></span><span><b part="node">—</b> <span part="more"></span></span>`);
    this.setAttribute("role", "status");
    const draw = () => this.#draw();
    const timer = setInterval(() => this.#look(), ASK_MS);
    this.keep(
      ...["state", "reconnecting", "transferred", "closed", "stale"].map((t) => session.on(t, draw)),
      session.on("state", () => this.#look()),
      () => clearInterval(timer),
    );
    draw();
  }

  async #look() {
    if (document.hidden || this.session.state !== "live") return;
    const ask = ++this.#ask;
    let standby = "";
    try {
      const response = await fetch("/data/api/v1/redundancy", { cache: "no-store" });
      const status = response.ok ? await response.json() : {};
      if (status.role === "Independent") standby = "no standby";
      else if (status.peerConnected === false) standby = "standby away";
      else if (status.projectState === "Good") standby = "standby ready";
      else if (status.peerConnected) standby = "standby catching up";
    } catch {
      // The node that served this page is away; the session says more than this line could.
    }
    if (ask !== this.#ask) return;
    this.#standby = standby;
    this.#draw();
  }

  #draw() {
    const { session } = this;
    const state = session.state === "reconnecting" && !session.stale ? "live" : session.state;
    this.dataset.state = state;
    this.dataset.node = session.node ?? "";
    this.dataset.standby = this.#standby;
    const words = { connecting: "connecting …", reconnecting: "looking for a gateway …", closed: "closed" };
    const node = session.node ? `Gateway ${session.node}` : "No gateway yet";
    const term = session.status?.term?.counter;
    const more = words[state] ?? [term && `term ${term}`, this.#standby].filter(Boolean).join(", ");
    const root = this.shadowRoot;
    root.querySelector("[part=node]").textContent = state === "live" ? node : "";
    root.querySelector("[part=more]").textContent = more;
  }
}
