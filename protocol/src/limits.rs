//! Every limit, with its reason.

use std::time::Duration;

/// Names of nodes, pairs, projects and pages: a log line must hold several of them.
pub const NAME_MAX_BYTES: usize = 64;
/// A tag path such as `Plant/Boiler 1/Temperature`.
pub const TAG_PATH_MAX_BYTES: usize = 256;
/// A text value of a tag, a note on an ack: what fits on a screen.
pub const TEXT_MAX_BYTES: usize = 4 * 1024;
/// Properties of one session, as JSON: typed text and choices, not documents.
pub const PROPS_MAX_BYTES: usize = 32 * 1024;
/// One session message.
pub const SESSION_MESSAGE_MAX_BYTES: usize = 256 * 1024;
/// Operations of one session without an outcome.
pub const OUTSTANDING_WRITES_MAX: usize = 64;
/// An `Idempotency-Key`: what clients make is a UUID or a hash.
pub const KEY_MAX_BYTES: usize = 128;
/// Keys of keyed operations that are remembered: half a day of one request in four seconds, and
/// far above what can be on its way at once.
pub const KEYS_MAX: u64 = 10_000;
/// Tags of one gateway: all are held in memory and each keeps a slot for its value.
pub const TAGS_MAX: usize = 100_000;
/// Outcomes of one session kept above its floor: four times what can be outstanding.
pub const OUTCOMES_MAX: usize = 256;
/// Tags that one session subscribes to.
pub const SUBSCRIPTIONS_MAX: usize = 2_000;
/// Sessions on one node.
pub const SESSIONS_MAX: usize = 10_000;
/// Events of the kept log.
pub const EVENTS_MAX: usize = 10_000;
/// Age of an event after which it may be dropped.
pub const EVENT_AGE_MAX: Duration = Duration::from_secs(3600);
/// A session without a connection lives this long.
pub const SESSION_LINGER: Duration = Duration::from_secs(600);
/// A hand-over token may be used this long.
pub const HANDOVER_TOKEN_LIFE: Duration = Duration::from_secs(30);
/// Ids that a counting tag remembers: a day of one write a second.
pub const COUNTED_IDS_MAX: u64 = 100_000;
/// The longest shelf: an alarm that is put aside for more than a week is a wrong alarm.
pub const SHELF_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// The longest delay of a pipeline: a day shift.
pub const PIPELINE_DELAY_MAX: Duration = Duration::from_secs(24 * 3600);
/// A webhook's URL: what proxies and browsers agree on.
pub const URL_MAX_BYTES: usize = 2 * 1024;
/// The deadline of an operation that names none.
pub const WRITE_DEADLINE: Duration = Duration::from_secs(5);

/// One peer frame. Chunks of transfers stay far below it.
pub const PEER_FRAME_MAX_BYTES: usize = 4 * 1024 * 1024;
/// A peer frame that moves no items: a hello with all its activations is the longest.
pub const PEER_WORD_MAX_BYTES: usize = 64 * 1024;
/// A standby whose durable position is older than this is out of sync: config answers wait for it.
pub const DURABLE_LAG_MAX: Duration = Duration::from_secs(5);
/// A lag is known to this part of its limit.
pub const LAG_SLOTS: u32 = 20;
/// A standby that was told that it is out of sync is not told the contrary sooner than this: a
/// link at the edge would move it to and fro.
pub const OUT_OF_SYNC_REST: Duration = Duration::from_secs(1);
/// Items of a full transfer travel in chunks of about this size.
pub const CHUNK_BYTES: usize = 64 * 1024;
/// What an ended link leaves of a transfer is held so long, on both nodes, for the next link to go
/// on with: one that stays away longer is no blip, and up to 256 MiB a kind are freed.
pub const TRANSFER_HELD: Duration = Duration::from_secs(600);
/// Chunks on their way without a receipt.
pub const CHUNKS_IN_FLIGHT: u32 = 8;
/// Unreceived updates on the control connection: heartbeats wait behind no more than this.
pub const UPDATES_IN_FLIGHT_BYTES: usize = 64 * 1024;
/// Updates of each kind held in memory for a tail, in number.
pub const LOG_WINDOW_UPDATES: usize = 4_096;
/// Updates of each kind held in memory for a tail, in bytes.
pub const LOG_WINDOW_BYTES: usize = 8 * 1024 * 1024;
/// Config updates that wait for a backup that is away, in number: they are in memory as well as on
/// disk, and a small one takes some 300 bytes beside its own.
pub const CONFIG_QUEUE_UPDATES: usize = 262_144;
/// The least `max_disk_mb`: what is on its way to a backup that is there fits in any case.
pub const MAX_DISK_MB_MIN: u64 = 8;
/// The most `max_disk_mb`: the queue is held in memory too, beside the items themselves.
pub const MAX_DISK_MB_MAX: u64 = 1_024;
/// All changes of one update: it travels in one frame, with room for names.
pub const UPDATE_MAX_BYTES: usize = PEER_FRAME_MAX_BYTES - 1024 * 1024;
/// All items of one kind: they are held in memory on both nodes. Kept where they are made; a full
/// transfer may bring twice as much, for what two nodes did apart is joined.
pub const ITEMS_MAX_BYTES: usize = 256 * 1024 * 1024;
/// Of the kept items so much is left for writes, acks and alarms: sessions and modules take none
/// of it.
pub const ITEMS_RESERVED_BYTES: usize = 32 * 1024 * 1024;
/// One item (a file of a project): it travels in one frame.
pub const ITEM_MAX_BYTES: usize = 2 * 1024 * 1024;
/// Activations a node remembers.
pub const ACTIVATIONS_MAX: usize = 64;
/// Requests that wait for a store or a receipt; past it a request is answered `busy`.
pub const REQUESTS_WAITING_MAX: usize = 16_384;

/// Changes in one update of a merge: an update stays far below a frame.
pub const MERGE_UPDATE_CHANGES: usize = 256;
/// Bytes in one update of a merge, beside its last item: far below a frame.
pub const MERGE_UPDATE_BYTES: usize = 256 * 1024;
/// Entries in each list of a report: what a person can look through.
pub const REPORT_ENTRIES_MAX: usize = 1_000;
/// What a node changed alone travels in messages of about this size, one at a time, so that
/// heartbeats wait behind no more than that.
pub const ALONE_BYTES: usize = 64 * 1024;
/// Clients wait so long, at the most, for the merge after both nodes were active: one that
/// resends must find what it did at the other node.
pub const MERGE_HOLD: Duration = Duration::from_millis(500);
/// Marks of when kept updates were made: enough to order what two nodes did apart.
pub const AGE_MARKS_MAX: usize = 4_096;
/// Marks of when kept updates were made that outlive a restart.
pub const AGE_MARKS_STORED: usize = 64;

/// Config updates whose outcome a node remembers, so that two configs of one lineage that parted
/// are told apart: as many as a person makes in an hour without the other node.
pub const CONFIG_MARKS_MAX: usize = 32;
/// Items that cannot be applied and are named one by one: beyond this one says it for all.
pub const UNAPPLIED_MAX: usize = 64;
/// A room that cannot apply what a full transfer brought says so within this time.
pub const APPLY_WAIT: Duration = Duration::from_secs(5);
/// The first pause before config that cannot be applied is transferred once more.
pub const APPLY_RETRY: Duration = Duration::from_secs(10);
/// The longest of these pauses: a new version of a room is tried within it.
pub const APPLY_RETRY_MAX: Duration = Duration::from_secs(600);
/// A verdict must follow the hellos within this time.
pub const VERDICT_WAIT: Duration = Duration::from_secs(1);
/// Connections that others have dialed and that have not said hello: a pair needs one, a flood gets
/// no more than this. Past it the oldest ends, so that the newest, which may be the peer, is heard.
pub const GREETINGS_MAX: usize = 16;
/// Words of a peer between two of this node's heartbeats, beside the data that windows bound. A
/// pair says a few; a node that was stalled finds no more than its peer says within a failover
/// timeout, and what a merge sends in that time.
pub const PEER_WORDS_MAX: u32 = 1_024;
/// Redials of a lost peer are at most this far apart.
pub const REDIAL_MAX: Duration = Duration::from_secs(1);
/// A dial that was due has reached a peer that lives by then.
pub const DIAL_GRACE: Duration = Duration::from_millis(200);
/// The two connects of a look are this far apart.
pub const LOOK_GAP: Duration = Duration::from_millis(5);
/// A look that has no answer by then says nothing.
pub const LOOK_WAIT: Duration = Duration::from_millis(250);
/// Arrivals handled between two looks at the clock.
pub const INPUTS_PER_CLOCK_LOOK: usize = 64;
/// Half the failover timeout must exceed the ping rate by this much, or a busy machine would
/// fence itself.
pub const PERMIT_MARGIN: Duration = Duration::from_millis(100);
/// A switchover waits this long for a standby that is ready and nearly level.
pub const PREPARE_MAX: Duration = Duration::from_secs(2);
/// Writes are held only when the standby is no further behind: they wait for it.
pub const FREEZE_LAG_MAX: Duration = Duration::from_millis(10);
/// A freeze must end in a commit or an abort within this time.
pub const FREEZE_MAX: Duration = Duration::from_millis(500);
/// A freeze waits this long for the own disk, so that what it will have stored is answered here;
/// the rest is answered by the other node.
pub const FREEZE_DISK_WAIT: Duration = Duration::from_millis(20);
/// After a commit a node that stops waits this long for the other to say that it has the level.
pub const TOOK_WAIT: Duration = Duration::from_secs(1);
/// Persons' requests on their way to the active node.
pub const FORWARDED_MAX: usize = 16;
/// A forwarded request is answered within this time: prepare, freeze and the way there and back.
pub const FORWARD_WAIT: Duration = Duration::from_millis(3_500);
/// An active node whose disk is full looks this often whether its peer can take the level.
pub const FULL_DISK_AGAIN: Duration = Duration::from_secs(5);
/// Losses of the peer that are this old no longer lengthen the rest of the level.
pub const LOSSES_REMEMBERED: Duration = Duration::from_secs(600);
/// The level never rests longer than this.
pub const HOLD_MAX: Duration = Duration::from_secs(600);

/// Ids that a page which navigates away may still use before the next one begins above them.
pub const IDS_LEFT_TO_A_PAGE: u64 = 10_000;
/// A client pings after this much silence.
pub const CLIENT_PING_AFTER: Duration = Duration::from_millis(1_000);
/// A client counts a connection as lost after this much silence.
pub const CLIENT_LOST_AFTER: Duration = Duration::from_millis(2_500);
/// Cap of a client's backoff.
pub const CLIENT_BACKOFF_MAX: Duration = Duration::from_secs(2);
/// A client lets a connect attempt run for so long.
pub const CLIENT_CONNECT_WAIT: Duration = Duration::from_secs(2);
/// No notice for a shorter interruption on the same node.
pub const CLIENT_BLIP: Duration = Duration::from_millis(500);
/// A lower term is taken when nobody was freshly active with the higher one for this long.
pub const CLIENT_LOWER_TERM_AFTER: Duration = Duration::from_secs(2);
/// "Freshly" active: said so within this time.
pub const CLIENT_FRESH: Duration = Duration::from_secs(1);
/// Behind a proxy a client waits this long for `moved` before it redials.
pub const CLIENT_MOVED_WAIT: Duration = Duration::from_millis(2_500);

/// A switch that a person asked for and that has not shown by then has been given up: the standby
/// is waited for (2 s), writes are frozen (0.5 s), and the other node stores its term.
pub const FAILOVER_SHOWS: Duration = Duration::from_secs(5);
