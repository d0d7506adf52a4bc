// Tandem in the browser: a session that outlives its gateway. `window.tandem.session` is the
// document's session once `tandem:ready` was dispatched on the document.

/** A tag's value. */
export type TagValue = boolean | number | string;
/** What a value is worth. */
export type Quality = "good" | "stale" | "bad";

/** One value as this page got it. */
export interface Sample {
  tag: string;
  value: TagValue;
  quality: Quality;
  /** When it was sampled: milliseconds since 1970 on the node's clock. */
  time: number;
  /** When it reached this page: `performance.now()`. */
  at: number;
}

/** An alarm that is raised or not acknowledged. */
export interface Alarm {
  name: string;
  raised: boolean;
  acked: boolean;
  /** Counts its raises: an ack covers one of them. */
  raise: number;
  since: number;
  acked_by: string | null;
  note: string | null;
  priority: "low" | "medium" | "high" | "critical";
  text: string;
  /** Put aside until then; missing: it is not. */
  shelved?: { until: number; by?: string; note?: string };
}

/** What a session can do. */
export type Operation =
  | { op: "write"; tag: string; value: TagValue }
  | { op: "ack"; alarm: string; raise: number; who?: string; note?: string }
  | { op: "shelve"; alarm: string; seconds: number; who?: string; note?: string }
  | { op: "unshelve"; alarm: string }
  | { op: "props"; props: Record<string, unknown> }
  | { op: "page"; page: string; params: Record<string, string> };

/** What became of an operation. */
export interface WriteOutcome {
  event?: "write_outcome";
  id?: number;
  /** `expired`: surely not applied. `unknown`: nobody can say any more. */
  outcome: "applied" | "rejected" | "expired" | "unknown";
  /** On how many nodes it is kept. */
  copies?: number;
  /** Why it was rejected. */
  reason?: string;
  operation?: Operation;
  at?: number;
}

/** The events of a session; `at` is `performance.now()`. */
export interface SessionEvents {
  connected: { node: string; session: string; term: Term | null; at: number };
  reconnecting: { why: string; at: number };
  transferred: {
    from: string | null;
    to: string;
    reason: string;
    gap_ms: number;
    incident: string;
    contact: string;
    at: number;
  };
  resumed: { recovered: boolean; anew: boolean; node: string; gap_ms: number; at: number };
  state: {
    page: string;
    params: Record<string, string>;
    props: Record<string, unknown>;
    alarms: Alarm[];
    status: Status;
    at: number;
  };
  tag_change: Sample;
  alarm_change: Alarm & { at: number };
  notice: { severity: "info" | "warning" | "error"; text: string; incident: string | null; at: number };
  write_outcome: WriteOutcome;
  closed: { why: string; at: number };
  navigate: { url: string; at: number };
  /** The values on the page became older than a blip, or current again. */
  stale: { stale: boolean };
  /** An operation was taken and has no outcome yet. */
  pending: { id: number; operation: Operation };
  /** A link was followed while no gateway answers. */
  wanted: { page: string };
}

/** An activation's place in the order. */
export interface Term {
  counter: number;
  node: string;
}

/** A node's status, as of the last bind. */
export interface Status {
  pair: string | null;
  node: string;
  role: "Independent" | "Master" | "Backup";
  level: "Undecided" | "Cold" | "Warm" | "Active";
  term: Term | null;
  system: string;
  contact: string;
  reason: string;
  [field: string]: unknown;
}

/** How a script starts a session without `<tandem-session>`. */
export interface SessionOptions {
  /** Default: from the page's URL, `/p/{project}/{page}`. */
  project?: string | null;
  page?: string | null;
  params?: Record<string, string>;
  /** The first properties, if the session is opened anew. */
  props?: Record<string, unknown>;
  /** Base URLs of the gateways or of a proxy. Default: where the page came from. */
  addresses?: string[];
  /** Whether the page may move to another node. Default: true. */
  navigates?: boolean;
  /** Whether a connection to the other node is kept all the time. Default: true. */
  warmWatch?: boolean;
}

/** A session with the gateways. */
export class TandemSession {
  constructor(options?: SessionOptions);
  readonly project: string;
  readonly page: string;
  readonly params: Record<string, string>;
  readonly state: "connecting" | "live" | "reconnecting" | "closed";
  readonly stale: boolean;
  readonly node: string | null;
  readonly status: Status | null;
  readonly alarms: ReadonlyMap<string, Alarm>;
  readonly pending: ReadonlyMap<number, Operation>;
  readonly props: Record<string, unknown>;
  /** The last 500 events that are not values. */
  readonly journal: ReadonlyArray<{ event: string; at: number }>;
  /** Calls `listener` for each such event. Returns how to stop. */
  on<K extends keyof SessionEvents>(type: K, listener: (event: SessionEvents[K]) => void): () => void;
  on(type: "*", listener: (event: unknown) => void): () => void;
  /** Calls `listener` with each value of a tag, at once with the last one. */
  watch(tag: string, listener: (sample: Sample) => void): () => void;
  value(tag: string): Sample | undefined;
  /** Resolves to what became of it; never rejects. The usual deadline is 5 s. */
  write(tag: string, value: TagValue, options?: { deadlineMs?: number }): Promise<WriteOutcome>;
  ack(alarm: string, raise: number, note?: string): Promise<WriteOutcome>;
  /** Puts an alarm aside: it notifies nobody for so many seconds (a week at most). */
  shelve(alarm: string, seconds: number, said?: { who?: string; note?: string }): Promise<WriteOutcome>;
  unshelve(alarm: string): Promise<WriteOutcome>;
  setProps(props: Record<string, unknown>): Promise<WriteOutcome>;
  href(page: string, params?: Record<string, string>): string;
  open(page: string, params?: Record<string, string>): void;
  probe(): void;
  close(): void;
  /** A small JSON value that the next page (reload, link, move) gets by `carried`. */
  carry(key: string, take: () => unknown): () => void;
  carried(key: string): unknown;
  /** `flush` is called when typed text must leave the page. */
  flushing(flush: () => void): () => void;
}

/** Makes a session the one that the document's elements use. */
export function provideSession(session: TandemSession): void;

declare global {
  interface Window {
    tandem: {
      session: TandemSession | null;
      TandemSession: typeof TandemSession;
      provideSession: typeof provideSession;
    };
  }
  interface DocumentEventMap {
    /** Each event of the session, values too. */
    "tandem:event": CustomEvent<{ event: string; at: number; [field: string]: unknown }>;
    "tandem:ready": CustomEvent<TandemSession>;
  }
}
