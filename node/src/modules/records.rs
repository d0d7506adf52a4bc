//! Records: typed items of a provider, on both nodes without further code.
//!
//! State (`Kind::Kept`) is changed by the active node and config (`Kind::Config`) by the master;
//! everyone reads. A change that was answered is durable here and, while the pair is in sync, at
//! the standby too.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;
use minicbor::{Decode, Encode};
use tandem_protocol::gateway::input::{Items, Request};
use tandem_protocol::item::{Change, Item, ItemKey, Kind};
use tandem_protocol::limits::ITEM_MAX_BYTES;
use tandem_protocol::runtime::records;
use tokio::sync::broadcast;

use super::context::{Failure, done};
use crate::driver::{self, Shown};

/// Records as anyone may read them.
#[derive(Debug)]
pub struct View<T> {
    driver: driver::Handle,
    kind: Kind,
    provider: String,
    record: PhantomData<fn() -> T>,
}

impl<T> Clone for View<T> {
    fn clone(&self) -> View<T> {
        View::new(self.driver.clone(), self.kind, self.provider.clone())
    }
}

/// What happened to the records of a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordChange<T> {
    /// A record is new or changed.
    Put {
        /// Its key.
        key: String,
        /// The record.
        record: T,
    },
    /// A record is gone.
    Deleted {
        /// Its key.
        key: String,
    },
    /// Any of them may have changed: list them anew.
    Reloaded,
}

impl<T> View<T> {
    pub(super) fn new(driver: driver::Handle, kind: Kind, provider: String) -> View<T> {
        View { driver, kind, provider, record: PhantomData }
    }
}

impl<T: for<'b> Decode<'b, ()>> View<T> {
    /// A record as it is shown; `None` where there is none, or one that cannot be read.
    pub fn get(&self, key: &str) -> Option<T> {
        records::get(&self.driver.items(self.kind), &ItemKey::new(&self.provider, key))
    }

    /// All records in the order of their keys. Those that cannot be read are left out.
    pub fn list(&self) -> Vec<(String, T)> {
        let items = self.driver.items(self.kind);
        of_provider(&items, &self.provider)
            .filter_map(|(key, item)| Some((key.key.clone(), minicbor::decode(&item.body).ok()?)))
            .collect()
    }

    /// Follows the changes from now on. Subscribe first, then list: what changes in between is
    /// told twice, not missed.
    pub fn subscribe(&self) -> Changes<T> {
        Changes {
            shown: self.driver.shown(),
            kind: self.kind,
            provider: self.provider.clone(),
            waiting: VecDeque::new(),
        }
    }
}

/// The items of a provider, in the order of their keys.
pub(super) fn of_provider<'a>(
    items: &'a Items,
    provider: &str,
) -> impl Iterator<Item = (&'a ItemKey, &'a Item)> + use<'a> {
    // '\0' follows no byte: the range holds this provider and no other.
    items.range(ItemKey::new(provider, "")..ItemKey::new(&format!("{provider}\0"), ""))
}

/// The changes of a provider's records, in order.
#[derive(Debug)]
pub struct Changes<T> {
    shown: broadcast::Receiver<Arc<Shown>>,
    kind: Kind,
    provider: String,
    waiting: VecDeque<RecordChange<T>>,
}

impl<T: for<'b> Decode<'b, ()>> Changes<T> {
    /// Waits for the next change; `None`: the node stops. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<RecordChange<T>> {
        loop {
            if let Some(change) = self.waiting.pop_front() {
                return Some(change);
            }
            match self.shown.recv().await {
                Ok(shown) => self.take(&shown),
                Err(broadcast::error::RecvError::Lagged(_)) => {
                    return Some(RecordChange::Reloaded);
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    fn take(&mut self, shown: &Shown) {
        match shown {
            Shown::Reload { kind } if *kind == self.kind => {
                self.waiting.push_back(RecordChange::Reloaded);
            }
            Shown::Updates { kind, updates } if *kind == self.kind => {
                for change in updates.iter().flat_map(|update| &update.changes) {
                    if change.key.provider == self.provider {
                        self.waiting.extend(read(change));
                    }
                }
            }
            Shown::Reload { .. } | Shown::Updates { .. } => {}
        }
    }
}

fn read<T: for<'b> Decode<'b, ()>>(change: &Change) -> Option<RecordChange<T>> {
    let key = change.key.key.clone();
    match &change.body {
        None => Some(RecordChange::Deleted { key }),
        Some(body) => minicbor::decode(body).ok().map(|record| RecordChange::Put { key, record }),
    }
}

/// A module's own records: what a [`View`] shows, and changes.
#[derive(Debug)]
pub struct Records<T> {
    view: View<T>,
}

impl<T> Clone for Records<T> {
    fn clone(&self) -> Records<T> {
        Records { view: self.view.clone() }
    }
}

impl<T> Deref for Records<T> {
    type Target = View<T>;

    fn deref(&self) -> &View<T> {
        &self.view
    }
}

impl<T: Encode<()> + for<'b> Decode<'b, ()>> Records<T> {
    pub(super) fn new(view: View<T>) -> Records<T> {
        Records { view }
    }

    /// Puts a record; says on how many nodes it is.
    ///
    /// # Errors
    /// Nothing was done, or nobody knows yet whether it was: see [`Failure`].
    pub async fn put(&self, key: &str, record: &T) -> Result<u8, Failure> {
        self.change([(key.to_owned(), Some(record))]).await
    }

    /// Deletes a record; one that is not there is no fault.
    ///
    /// # Errors
    /// As [`Records::put`].
    pub async fn delete(&self, key: &str) -> Result<u8, Failure> {
        self.change([(key.to_owned(), None)]).await
    }

    /// Puts and deletes (`None`) records: all or none. Each key once.
    ///
    /// # Errors
    /// As [`Records::put`].
    pub async fn change<'a>(
        &self,
        records: impl IntoIterator<Item = (String, Option<&'a T>)>,
    ) -> Result<u8, Failure>
    where
        T: 'a,
    {
        let mut changes = Vec::new();
        for (key, record) in records {
            let body = record.map(records::encode);
            if body.as_ref().map_or(0, Bytes::len) + key.len() > ITEM_MAX_BYTES {
                let reason = format!("record {key} is longer than {ITEM_MAX_BYTES} bytes");
                return Err(Failure::Rejected { reason });
            }
            changes.push(Change { key: ItemKey::new(&self.view.provider, key), body });
        }
        let request = match self.view.kind {
            Kind::Kept => {
                // A node that was stopped must not even ask.
                if !self.view.driver.gate().is_open() {
                    return Err(Failure::Standby);
                }
                Request::Keep { changes }
            }
            Kind::Config => Request::Config { changes, expect: Vec::new() },
        };
        done(self.view.driver.request(request).await)
    }
}
