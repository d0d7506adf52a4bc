// <tandem-notice>: what a person at the page must know when a gateway was lost: which node serves
// now, why, for how long nobody did, what became of their work, which id to quote and whom to tell.
// While no gateway answers it says so, and counts.

import { TandemElement, clockTime, schedule, span } from "./base.js";

const CSS = `
:host { display: block; }
[part=notice] { display: grid; grid-template-columns: auto 1fr auto; gap: .15em .9em;
  align-items: start; padding: .7em .9em; border: 1px solid var(--_line); border-radius: 6px;
  border-inline-start: 5px solid var(--_p); background: var(--_panel); color: var(--_ink);
  box-shadow: 0 2px 10px rgb(0 0 0 / .14); }
[part=sign] { grid-row: span 2; font-size: 1.25em; line-height: 1.2; color: var(--_p); }
[part=title] { font-weight: 650; }
[part=text] { grid-column: 2; color: var(--_quiet); line-height: 1.45; overflow-wrap: anywhere; }
[part=text] b { color: var(--_ink); font-weight: 600; user-select: all; }
[part=dismiss] { grid-column: 3; grid-row: 1 / span 2; border: 0; background: none; padding: 0 .6em; }
:host([data-kind=lost]) { --_p: var(--_critical); }
:host([data-kind=moved]) { --_p: var(--_accent); }
:host([data-kind=said]) { --_p: var(--_medium); }
`;

const SIGNS = { lost: "◼", moved: "⇄", said: "◆" };

export class TandemNotice extends TandemElement {
  #lost = null;
  #shown = null;
  #paint = () => this.#draw();

  attach(session) {
    this.build(CSS, `<div part="notice" hidden><span part="sign" aria-hidden="true"></span
      ><div part="title"></div><div part="text"></div
      ><button part="dismiss" type="button" aria-label="Dismiss">✕</button></div>`);
    this.setAttribute("role", "status");
    this.setAttribute("aria-live", "polite");
    this.shadowRoot.querySelector("button").onclick = () => {
      this.#shown = null;
      this.#draw();
    };
    this.#shown = session.carried("notice") ?? null;
    const clock = setInterval(() => this.#lost && this.#draw(), 250);
    this.keep(
      session.carry("notice", () => this.#shown ?? undefined),
      session.on("reconnecting", ({ why, at }) => (this.#lost ??= { why, since: at, node: session.node })),
      session.on("state", () => (this.#lost = null)),
      session.on("stale", () => schedule(this.#paint)),
      session.on("transferred", (event) => this.#say(moved(event))),
      session.on("resumed", (event) => this.#resumed(event)),
      session.on("notice", ({ text, incident }) => this.#say({ kind: "said", title: text, incident })),
      session.on("closed", ({ why }) => this.#closed(why)),
      session.on("wanted", ({ page }) => {
        this.#wanted = page;
        this.#draw();
      }),
      () => clearInterval(clock),
    );
    this.#draw();
  }

  #wanted = null;

  #say(shown) {
    this.#lost = null;
    this.#shown = shown;
    schedule(this.#paint);
  }

  #resumed({ recovered, anew, node, gap_ms }) {
    // A move was told just before, in the same breath; else it is the gateway that was here before.
    const told = this.#shown?.fresh ? this.#shown : null;
    const shown = told ?? {
      kind: "moved", title: `Gateway ${node} answers again`, gap: gap_ms, at: Date.now(), work: KEPT,
    };
    if (anew) {
      if (!told) shown.title = "This page has a new session";
      shown.work = "The old one went on in another tab, or no gateway knew it any more. The new one "
        + "has what this page had: check the last thing that you did.";
    } else if (!recovered) {
      shown.work = "Messages may have come and gone meanwhile; the list of alarms is complete again.";
    }
    shown.fresh = false;
    if (told || anew || !recovered || gap_ms >= NOTICE_MS) this.#say(shown);
  }

  #closed(why) {
    this.#say({ kind: "lost", title: "This session is over", reason: why, closed: true });
  }

  #draw() {
    const { session } = this;
    const away = this.#lost && session.stale && session.state === "reconnecting";
    const shown = away ? this.#waiting() : this.#shown;
    const box = this.shadowRoot.querySelector("[part=notice]");
    box.hidden = !shown;
    if (!shown) {
      delete this.dataset.kind;
      return;
    }
    this.dataset.kind = shown.kind;
    this.shadowRoot.querySelector("[part=sign]").textContent = SIGNS[shown.kind];
    this.shadowRoot.querySelector("[part=title]").textContent = shown.title;
    const text = this.shadowRoot.querySelector("[part=text]");
    text.replaceChildren(...lines(shown));
    this.shadowRoot.querySelector("button").hidden = Boolean(away);
  }

  #waiting() {
    const { session } = this;
    const { node, since, why } = this.#lost;
    const ms = performance.now() - since;
    const entries = session.pending.size;
    const wait = entries === 1 ? "One of your entries waits" : `${entries} of your entries wait`;
    const work = entries
      ? `${wait} in this page, to be sent as soon as a gateway answers.`
      : "What you type and acknowledge now is kept in this page until a gateway answers.";
    const contact = session.status?.contact;
    return {
      kind: "lost",
      title: node ? `No answer from gateway ${node}` : "No gateway answers",
      says: `For ${span(ms)}, since ${clockTime(Date.now() - ms)} (${why}). Looking for both `
        + "gateways. The values on this page are old.",
      work: this.#wanted ? `${work} The page “${this.#wanted}” opens then.` : work,
      contact: ms > 10_000 ? contact : undefined,
    };
  }
}

/** A shorter interruption by the same gateway is not worth a person's attention. */
const NOTICE_MS = 500;
const KEPT = "Your page, your entries and acknowledgements were kept.";

function moved({ from, to, reason, gap_ms, incident, contact }) {
  const title = from && from !== to
    ? `Gateway ${to} took over from gateway ${from}`
    : `Gateway ${to} serves this page now`;
  return {
    kind: "moved", title, reason: named(reason, from), gap: gap_ms, incident, contact, work: KEPT, at: Date.now(),
    fresh: true,
  };
}

/** A gateway speaks of its peer; a person at a page knows it by its name. */
function named(reason, from) {
  return from ? reason.replace(/^(the )?peer\b/, `gateway ${from}`) : reason;
}

function lines({ says, reason, gap, work, incident, contact, at, closed }) {
  const nodes = [];
  const say = (text) => nodes.push(document.createTextNode(`${text} `));
  if (says) say(says);
  if (at) say(`${clockTime(at)}.`);
  if (reason) say(`Reason: ${reason}.`);
  if (gap !== undefined) say(`No gateway served this page for ${span(gap)}.`);
  if (work) say(work);
  if (incident) {
    say("Incident");
    const id = document.createElement("b");
    id.textContent = incident;
    nodes.push(id, document.createTextNode(". "));
  }
  if (contact) say(`Tell ${contact}.`);
  if (closed) say("Reload the page to begin a new one.");
  return nodes;
}
