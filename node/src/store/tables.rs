//! The tables of the database and how their rows are read and written.

use std::collections::VecDeque;

use redb::{ReadableTable, Table, TableDefinition, WriteTransaction};
use tandem_protocol::gateway::input::Items;
use tandem_protocol::item::{Item, ItemKey, Kind, Position, Update};
use tandem_protocol::limits::{CONFIG_QUEUE_UPDATES, LOG_WINDOW_BYTES, LOG_WINDOW_UPDATES};

/// Small facts by name.
pub(super) const FACTS: TableDefinition<&str, &[u8]> = TableDefinition::new("facts");
/// In [`FACTS`]: the version of these tables.
pub(super) const FORMAT: &str = "format";
/// In [`FACTS`]: the node that the folder belongs to.
pub(super) const NODE: &str = "node";
/// In [`FACTS`]: its pair.
pub(super) const PAIR: &str = "pair";
/// In [`FACTS`]: the ledger.
pub(super) const LEDGER: &str = "ledger";

/// Items by provider and key.
pub(super) type ItemsDefinition =
    TableDefinition<'static, (&'static str, &'static str), &'static [u8]>;
/// Updates by sequence.
pub(super) type LogDefinition = TableDefinition<'static, u64, &'static [u8]>;

/// The items of a kind.
pub(super) const fn items(kind: Kind) -> ItemsDefinition {
    match kind {
        Kind::Config => TableDefinition::new("config_items"),
        Kind::Kept => TableDefinition::new("kept_items"),
    }
}

/// The log of a kind.
pub(super) const fn log(kind: Kind) -> LogDefinition {
    match kind {
        Kind::Config => TableDefinition::new("config_log"),
        Kind::Kept => TableDefinition::new("kept_log"),
    }
}

/// In [`FACTS`]: the position of a kind.
pub(super) const fn position(kind: Kind) -> &'static str {
    match kind {
        Kind::Config => "config_position",
        Kind::Kept => "kept_position",
    }
}

/// Updates that a log table holds: sequence and bytes of each.
pub(super) type Held = VecDeque<(u64, usize)>;

/// Which updates the log table of one kind holds: all that may be held in memory.
#[derive(Debug)]
pub(super) struct Window {
    updates: Held,
    bytes: usize,
    /// The most that it may hold: updates, bytes.
    most: (usize, usize),
}

impl Default for Window {
    fn default() -> Window {
        let most = (LOG_WINDOW_UPDATES, LOG_WINDOW_BYTES);
        Window { updates: VecDeque::new(), bytes: 0, most }
    }
}

impl Window {
    /// It may hold so many bytes of updates that wait for the peer.
    pub(super) fn set_queue(&mut self, bytes: u64) {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        self.most = (CONFIG_QUEUE_UPDATES, bytes.max(LOG_WINDOW_BYTES));
    }

    /// The table is empty.
    fn clear(&mut self) {
        self.updates.clear();
        self.bytes = 0;
    }

    /// The table was read anew: it holds these.
    pub(super) fn refill(&mut self, held: Held) {
        self.bytes = held.iter().map(|(_, size)| size).sum();
        self.updates = held;
    }

    /// Remembers an update that the table holds.
    fn push(&mut self, sequence: u64, size: usize) {
        self.updates.push_back((sequence, size));
        self.bytes += size;
    }

    /// The sequences that must go before `next` is appended: those that it replaces, and the
    /// oldest where the window is full.
    fn make_room(&mut self, next: u64, size: usize) -> Vec<u64> {
        let mut gone = Vec::new();
        while self.updates.back().is_some_and(|(sequence, _)| *sequence >= next) {
            self.drop_one(VecDeque::pop_back, &mut gone);
        }
        while !self.updates.is_empty()
            && (self.updates.len() >= self.most.0 || self.bytes + size > self.most.1)
        {
            self.drop_one(VecDeque::pop_front, &mut gone);
        }
        gone
    }

    fn drop_one(
        &mut self,
        pop: impl FnOnce(&mut Held) -> Option<(u64, usize)>,
        gone: &mut Vec<u64>,
    ) {
        if let Some((sequence, size)) = pop(&mut self.updates) {
            self.bytes = self.bytes.saturating_sub(size);
            gone.push(sequence);
        }
    }
}

/// The tables of one kind, open for writing.
pub(super) struct KindTables<'t> {
    kind: Kind,
    items: Table<'t, (&'static str, &'static str), &'static [u8]>,
    log: Table<'t, u64, &'static [u8]>,
}

impl<'t> KindTables<'t> {
    pub(super) fn open(
        txn: &'t WriteTransaction,
        kind: Kind,
    ) -> Result<KindTables<'t>, redb::Error> {
        Ok(KindTables {
            kind,
            items: txn.open_table(items(kind))?,
            log: txn.open_table(log(kind))?,
        })
    }

    /// Appends an update and applies it to the items.
    pub(super) fn append(
        &mut self,
        facts: &mut Table<'_, &'static str, &'static [u8]>,
        window: &mut Window,
        update: &Update,
    ) -> Result<(), redb::Error> {
        let bytes = encode(update);
        let sequence = update.position.sequence;
        for gone in window.make_room(sequence, bytes.len()) {
            self.log.remove(gone)?;
        }
        self.log.insert(sequence, bytes.as_slice())?;
        window.push(sequence, bytes.len());
        for change in &update.changes {
            let key = (change.key.provider.as_str(), change.key.key.as_str());
            match &change.body {
                Some(body) => {
                    let item = Item { body: body.clone(), changed: update.position };
                    self.items.insert(key, encode(&item).as_slice())?;
                }
                None => {
                    self.items.remove(key)?;
                }
            }
        }
        self.set_position(facts, update.position)
    }

    /// Replaces all items and forgets the log.
    pub(super) fn install(
        &mut self,
        facts: &mut Table<'_, &'static str, &'static [u8]>,
        window: &mut Window,
        items: &Items,
        position: Position,
    ) -> Result<(), redb::Error> {
        self.items.retain(|_, _| false)?;
        self.log.retain(|_, _| false)?;
        window.clear();
        for (key, item) in items {
            self.items
                .insert((key.provider.as_str(), key.key.as_str()), encode(item).as_slice())?;
        }
        self.set_position(facts, position)
    }

    fn set_position(
        &self,
        facts: &mut Table<'_, &'static str, &'static [u8]>,
        at: Position,
    ) -> Result<(), redb::Error> {
        facts.insert(position(self.kind), encode(&at).as_slice())?;
        Ok(())
    }

    /// All items as they are now, with what this transaction has changed.
    pub(super) fn all(&self) -> Result<Vec<(ItemKey, Item)>, super::read_error::ReadError> {
        read_items(&self.items)
    }
}

/// Reads all items of a table.
pub(super) fn read_items(
    table: &impl ReadableTable<(&'static str, &'static str), &'static [u8]>,
) -> Result<Vec<(ItemKey, Item)>, super::read_error::ReadError> {
    let mut all = Vec::new();
    for row in table.iter()? {
        let (key, value) = row?;
        let (provider, name) = key.value();
        all.push((ItemKey::new(provider, name), minicbor::decode(value.value())?));
    }
    Ok(all)
}

/// CBOR; encoding into memory cannot fail.
pub(super) fn encode<T: minicbor::Encode<()>>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = minicbor::encode(value, &mut bytes);
    bytes
}
