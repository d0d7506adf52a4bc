// A page's session with the gateways: the JavaScript face of the machine in the wasm module.
//
// The machine decides where the session goes. This file converts, keeps the last state for those
// who come late (elements, scripts), and does what only a page can: store, navigate, wake up.

import { glue } from "./glue.js";
import { eraseKept, readKept, toFragment, writeKept } from "./keep.js";

/** A shorter loss is not shown: the values on the page are then as good as current. */
const BLIP_MS = 500;
/** Wall time that jumps by more than this between two looks means that the machine slept. */
const TIME_JUMP_MS = 3000;
/** After a bind a link waits so long for a move to another node. */
const MOVE_FIRST_MS = 250;
/** Typed text and the page are still right when a gateway was away for long; a setpoint is not. */
const PATIENT_MS = 600_000;
/** Events that the journal holds, for people who look into a page and for tests. */
const JOURNAL_MAX = 500;

/** One session. Made by `<tandem-session>`, or by a script that wants no elements. */
export class TandemSession {
  /** The project and the page that this document shows. */
  project;
  page;
  /** The page's parameters. */
  params;
  /** `connecting`, `live`, `reconnecting` or `closed`. */
  state = "connecting";
  /** Whether the values on the page are older than a blip. */
  stale = true;
  /** The id of the node that serves the session, and that node's status as of the last bind. */
  node = null;
  status = null;
  /** All alarms that are raised or not acked, by name. */
  alarms = new Map();
  /** Operations without an outcome: id -> operation. */
  pending = new Map();
  /** The last events that are not values, oldest first, each with `at` (performance.now()). */
  journal = [];

  #machine = null;
  #begun;
  #props = {};
  #values = new Map();
  #watchers = new Map();
  #listeners = new Map();
  #waiting = new Map();
  #carriers = new Map();
  #flushers = new Set();
  #queue = [];
  #hearing = false;
  #subscribing = false;
  #wanted = null;
  #leaving = false;
  #staleTimer = 0;
  #view = {};

  constructor(options = {}) {
    const [, project, page] = location.pathname.match(/^\/p\/([^/]+)\/([^/]+)/) ?? [];
    this.project = options.project || decodeURIComponent(project ?? "");
    this.page = options.page || decodeURIComponent(page ?? "");
    this.params = options.params ?? Object.fromEntries(new URLSearchParams(location.search));
    const kept = readKept(this.project);
    this.#view = kept?.view ?? {};
    const saved = kept?.saved ?? null;
    for (const { id, floor, deadline, resent, ...operation } of saved?.open ?? []) {
      this.pending.set(id, operation);
    }
    this.#begun = this.#begin(options, saved);
  }

  async #begin(options, saved) {
    const addresses = options.addresses ?? [];
    const start = {
      type: "start",
      addresses: addresses.length ? addresses : [location.origin],
      fixed: addresses.length > 0,
      project: this.project,
      page: this.page,
      params: this.params,
      props: options.props ?? {},
      warm_watch: options.warmWatch ?? true,
      navigates: options.navigates ?? true,
    };
    const resume = saved && { type: "saved", ...saved, place: this.#place(saved) };
    try {
      const { Session, init } = await glue;
      await init();
      this.#machine = new Session(
        JSON.stringify(start),
        resume ? JSON.stringify(resume) : undefined,
        (text) => this.#hear(text),
      );
    } catch (error) {
      this.#tell({ event: "closed", why: `the session's program could not be loaded: ${error}` });
      return;
    }
    this.#wakeOnEvents();
    this.#sendSubscriptions();
    this.#machine.start();
  }

  /** A session that no node knows any more is opened anew at this page, with its properties. */
  #place(saved) {
    return { ...saved.place, page: this.page, params: this.params };
  }

  // What scripts and elements call.

  /** Calls `listener` for each event named `type`, or for all with `*`. Returns how to stop. */
  on(type, listener) {
    const set = this.#listeners.get(type) ?? new Set();
    this.#listeners.set(type, set.add(listener));
    return () => set.delete(listener);
  }

  /** Calls `listener` with each value of `tag`, at once with the last one. Returns how to stop. */
  watch(tag, listener) {
    const set = this.#watchers.get(tag) ?? new Set();
    this.#watchers.set(tag, set.add(listener));
    const last = this.#values.get(tag);
    if (last) guard(() => listener(last));
    this.#subscribeSoon();
    return () => {
      set.delete(listener);
      if (set.size === 0) this.#watchers.delete(tag);
      this.#subscribeSoon();
    };
  }

  /** The last value of a watched tag. */
  value(tag) {
    return this.#values.get(tag);
  }

  /** The session's properties, with those that are still on their way. */
  get props() {
    const props = { ...this.#props };
    for (const operation of this.pending.values()) {
      if (operation.op === "props") Object.assign(props, operation.props);
    }
    return props;
  }

  /** Writes a tag. Resolves to what became of it; never rejects. */
  write(tag, value, options) {
    return this.#operate({ op: "write", tag, value }, options);
  }

  /** Acks one raise of an alarm. */
  ack(alarm, raise, note) {
    return this.#operate(note ? { op: "ack", alarm, raise, note } : { op: "ack", alarm, raise });
  }

  /** Puts an alarm aside for so many seconds: it notifies nobody until then. */
  shelve(alarm, seconds, { who, note } = {}) {
    return this.#operate({ op: "shelve", alarm, seconds, who, note });
  }

  /** Ends a shelf before its time. */
  unshelve(alarm) {
    return this.#operate({ op: "unshelve", alarm });
  }

  /** Sets properties of the session; null deletes one. */
  setProps(props) {
    return this.#operate({ op: "props", props }, { deadlineMs: PATIENT_MS });
  }

  /** The URL of a page of this project. */
  href(page, params = {}) {
    const query = new URLSearchParams(params).toString();
    const path = `/p/${encodeURIComponent(this.project)}/${encodeURIComponent(page)}`;
    return query ? `${path}?${query}` : path;
  }

  /** Goes to a page of this project, with the session; while no gateway answers, as soon as one
   *  does. */
  open(page, params = {}) {
    this.#wanted = { page, params };
    if (this.state === "live" || this.state === "closed") this.#leave();
    else this.#emit("wanted", { page });
  }

  /** Looks at once whether the gateways are well. */
  probe() {
    this.#machine?.probe();
  }

  /** Ends the session on purpose. */
  close() {
    this.#machine?.close();
    eraseKept(this.project);
  }

  // What elements use to survive a reload, a link and a move.

  /** `take` is asked for a small JSON value when the page goes; `carried` gives it to the next. */
  carry(key, take) {
    this.#carriers.set(key, take);
    return () => this.#carriers.delete(key);
  }

  /** What the element with this key had in the page before. */
  carried(key) {
    return this.#view.elements?.[key];
  }

  /** `flush` is called when typed text must leave the page now. */
  flushing(flush) {
    this.#flushers.add(flush);
    return () => this.#flushers.delete(flush);
  }

  // The machine's events.

  #hear(text) {
    const at = performance.now();
    for (const event of JSON.parse(text)) this.#queue.push({ ...event, at });
    // A listener that operates makes the machine speak again: its words wait their turn.
    if (this.#hearing) return;
    this.#hearing = true;
    let keep = false;
    for (let event; (event = this.#queue.shift()); ) {
      keep ||= event.event !== "tag_change";
      this.#tell(event);
    }
    this.#hearing = false;
    if (keep) this.#keep();
  }

  #tell(event) {
    if (event.event === "tag_change") {
      const { tag, value, quality, time, at } = event;
      const sample = { tag, value, quality, time, at };
      this.#values.set(tag, sample);
      for (const listener of this.#watchers.get(tag) ?? []) guard(() => listener(sample));
    } else {
      this.#note(event);
      this.journal.push(event);
      if (this.journal.length > JOURNAL_MAX) this.journal.shift();
    }
    this.#emit(event.event, event);
    document.dispatchEvent(new CustomEvent("tandem:event", { bubbles: true, detail: event }));
    if (event.event === "state") this.#settle(event);
    if (event.event === "navigate") this.#move(event);
  }

  #emit(type, event) {
    for (const name of [type, "*"]) {
      for (const listener of this.#listeners.get(name) ?? []) guard(() => listener(event));
    }
  }

  /** Keeps what the event changes, before anybody is told. */
  #note(event) {
    switch (event.event) {
      case "connected":
      case "resumed":
        this.node = event.node;
        break;
      case "transferred":
        this.node = event.to;
        break;
      case "reconnecting":
        this.state = "reconnecting";
        this.#staleTimer ||= setTimeout(() => this.#setStale(true), BLIP_MS);
        this.#flush();
        break;
      case "state":
        this.state = "live";
        this.status = event.status;
        this.node = event.status.node;
        this.#props = event.props;
        this.alarms = new Map(event.alarms.map((alarm) => [alarm.name, alarm]));
        break;
      case "alarm_change":
        if (event.raised || !event.acked) this.alarms.set(event.name, event);
        else this.alarms.delete(event.name);
        break;
      case "write_outcome":
        this.#outcome(event);
        break;
      case "closed":
        this.state = "closed";
        this.#setStale(true);
        break;
    }
  }

  /** After each bind: values are current again, and the node learns which page this is. */
  #settle({ page, params }) {
    clearTimeout(this.#staleTimer);
    this.#staleTimer = 0;
    this.#setStale(false);
    const same = page === this.page && JSON.stringify(params) === JSON.stringify(this.params);
    if (!same) {
      const where = { op: "page", page: this.page, params: this.params };
      this.#operate(where, { deadlineMs: PATIENT_MS });
    }
    // A move to another node may follow, and then leads to the wanted page there.
    if (this.#wanted) setTimeout(() => this.#wanted && this.#leave(), MOVE_FIRST_MS);
  }

  #setStale(stale) {
    if (this.stale === stale) return;
    this.stale = stale;
    this.#emit("stale", { stale });
  }

  async #operate(operation, { deadlineMs = 0 } = {}) {
    if (!this.#machine) await this.#begun;
    if (!this.#machine) return { outcome: "rejected", reason: "the session could not begin" };
    return new Promise((resolve) => {
      let id;
      const early = this.#early();
      try {
        id = this.#machine.operate(
          JSON.stringify({ type: "operate", ...operation }),
          deadlineMs,
        );
      } catch (error) {
        early();
        resolve({ outcome: "rejected", reason: String(error?.message ?? error) });
        return;
      }
      const outcome = early(id);
      if (outcome) {
        resolve(outcome);
        return;
      }
      this.pending.set(id, operation);
      this.#waiting.set(id, resolve);
      this.#emit("pending", { id, operation });
      this.#keep();
    });
  }

  /** Catches an outcome that the machine tells while it takes the operation. */
  #early() {
    const seen = new Map();
    const stop = this.on("write_outcome", (event) => seen.set(event.id, event));
    return (id) => {
      stop();
      return seen.get(id);
    };
  }

  #outcome(event) {
    const operation = this.pending.get(event.id);
    if (operation?.op === "props" && event.outcome === "applied") {
      this.#props = { ...this.#props, ...operation.props };
    }
    event.operation = operation;
    this.pending.delete(event.id);
    this.#waiting.get(event.id)?.(event);
    this.#waiting.delete(event.id);
  }

  // Subscriptions: all of them each time, once for all elements of one task.

  #subscribeSoon() {
    if (this.#subscribing) return;
    this.#subscribing = true;
    queueMicrotask(() => {
      this.#subscribing = false;
      this.#sendSubscriptions();
    });
  }

  #sendSubscriptions() {
    this.#machine?.subscribe([...this.#watchers.keys()].sort());
  }

  // Storing, leaving, waking.

  #flush() {
    for (const flush of this.#flushers) guard(flush);
  }

  #taken() {
    const elements = {};
    for (const [key, take] of this.#carriers) {
      guard(() => {
        const value = take();
        if (value !== undefined) elements[key] = value;
      });
    }
    return { page: this.page, scroll: [scrollX, scrollY], elements };
  }

  #keep(view = this.#view) {
    const saved = this.#machine?.save();
    if (saved) writeKept(this.project, { saved: JSON.parse(saved), view });
  }

  #leave() {
    const { page, params } = this.#wanted;
    this.#wanted = null;
    location.assign(this.href(page, params));
  }

  /** Everything is stored and resumed at the other node already: goes there. */
  #move({ url, saved }) {
    this.#leaving = true;
    const view = this.#taken();
    const wanted = this.#wanted;
    const path = wanted ? this.href(wanted.page, wanted.params) : location.pathname + location.search;
    writeKept(this.project, { saved, view });
    location.replace(url.replace(/\/$/, "") + path + toFragment({ saved, view }));
  }

  /** Puts the page where it was, once its elements have their size. */
  restoreView() {
    const { page, scroll } = this.#view;
    if (page === this.page && scroll) requestAnimationFrame(() => scrollTo(...scroll));
  }

  #wakeOnEvents() {
    const probe = () => this.probe();
    addEventListener("online", probe);
    addEventListener("pageshow", (event) => event.persisted && probe());
    document.addEventListener("resume", probe);
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible") probe();
      else this.#flush();
    });
    addEventListener("pagehide", () => {
      if (this.#leaving || this.state === "closed") return;
      this.#flush();
      this.#keep(this.#taken());
    });
    let last = Date.now();
    setInterval(() => {
      const now = Date.now();
      if (Math.abs(now - last - 1000) > TIME_JUMP_MS) probe();
      last = now;
    }, 1000);
  }
}

/** A listener's mistake is reported and stops nobody else. */
function guard(run) {
  try {
    run();
  } catch (error) {
    reportError(error);
  }
}
