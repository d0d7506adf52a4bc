//! Places (addresses of gateways) and the one connection to each.
//!
//! A place holds at most one connection. Most are watches; one is the session's seat. What a place
//! says about its level is kept with the connection that said it: a word of a lost connection is
//! worth nothing.

use crate::failover::backoff::Backoff;
use crate::failover::input::ConnId;
use crate::limits::{
    CLIENT_CONNECT_WAIT, CLIENT_FRESH, CLIENT_LOST_AFTER, CLIENT_PING_AFTER, NAME_MAX_BYTES,
};
use crate::node::{Level, NodeId, PairId};
use crate::term::Term;
use crate::time::Instant;

/// Addresses of one pair: two nodes, each under a few names.
const PLACES_MAX: usize = 8;
/// A base URL: a host name has at most 253 bytes.
const URL_MAX_BYTES: usize = 4 * NAME_MAX_BYTES + 64;

/// Names a place for as long as the client lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PlaceId(u32);

/// What a connection is to the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seat {
    /// Nothing has been said yet.
    Fresh,
    /// Tells status.
    Watch,
    /// Was asked to take the session, then.
    Asked(Instant),
    /// Serves the session.
    Bound,
    /// Served the session until it fell silent; a proxy may still say `moved` on it.
    Hushed,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Conn {
    /// Its name.
    pub(super) id: ConnId,
    /// Whether the handshake is done.
    pub(super) open: bool,
    /// When it was dialled; when it opened.
    pub(super) since: Instant,
    /// When something last came from the gateway.
    pub(super) heard: Instant,
    /// When a ping was sent that nothing has followed yet.
    pub(super) pinged: Option<Instant>,
    /// What it is to the session.
    pub(super) seat: Seat,
    /// Behind a proxy: given up at this time if nothing has moved.
    pub(super) redial_at: Option<Instant>,
    /// Whether a proxy is between; known once the gateway has said so.
    pub(super) via_proxy: Option<bool>,
    /// The gateway's pair.
    pub(super) pair: Option<PairId>,
    /// The gateway's level as it last said.
    pub(super) level: Option<Level>,
    /// The term it said with it.
    pub(super) term: Option<Term>,
    /// When it last said that it is active.
    pub(super) active_at: Option<Instant>,
}

impl Conn {
    fn new(id: ConnId, now: Instant) -> Conn {
        Conn {
            id,
            open: false,
            since: now,
            heard: now,
            pinged: None,
            seat: Seat::Fresh,
            redial_at: None,
            via_proxy: None,
            pair: None,
            level: None,
            term: None,
            active_at: None,
        }
    }

    /// When it is to be pinged; `None` while a ping is out or it is not open.
    pub(super) fn ping_at(&self) -> Option<Instant> {
        (self.open && self.pinged.is_none()).then(|| self.heard + CLIENT_PING_AFTER)
    }

    /// When it counts as lost. Only a ping without an answer is silence: a client that slept itself
    /// asks before it accuses.
    pub(super) fn lost_at(&self) -> Option<Instant> {
        if !self.open {
            return Some(self.since + CLIENT_CONNECT_WAIT);
        }
        if self.seat == Seat::Hushed {
            return None;
        }
        let pinged = self.pinged?;
        let patience = CLIENT_LOST_AFTER.saturating_sub(CLIENT_PING_AFTER);
        let silent = (self.heard + CLIENT_LOST_AFTER).max(pinged + patience);
        Some(silent)
    }

    /// When an unanswered `open` or `resume` counts as refused.
    pub(super) fn answer_by(&self) -> Option<Instant> {
        match self.seat {
            Seat::Asked(at) => Some(at + CLIENT_LOST_AFTER),
            Seat::Fresh | Seat::Watch | Seat::Bound | Seat::Hushed => None,
        }
    }

    /// Whether it said within the last second that it is active.
    pub(super) fn freshly_active(&self, now: Instant) -> bool {
        self.active_at.is_some_and(|at| now.since(at) <= CLIENT_FRESH)
    }

    /// Whether its last word was that it is active, and the session is not there.
    pub(super) fn offers(&self) -> bool {
        self.open && self.seat == Seat::Watch && self.active_at.is_some()
    }
}

/// One address.
#[derive(Debug)]
pub(super) struct Place {
    /// Its name.
    pub(super) id: PlaceId,
    /// Its base URL, without a slash at the end.
    pub(super) url: String,
    /// Whether the author gave it (else a status announced it).
    given: bool,
    /// The node that answered there last.
    pub(super) node: Option<NodeId>,
    /// The level it said last, also on an earlier connection: news is what differs from it.
    pub(super) level: Option<Level>,
    /// The connection.
    pub(super) conn: Option<Conn>,
    /// The tries to connect.
    pub(super) backoff: Backoff,
    /// When to try next.
    pub(super) due: Option<Instant>,
    /// When it was last tried.
    pub(super) dialled: Option<Instant>,
}

impl Place {
    /// A new connection to this place.
    pub(super) fn dial(&mut self, id: ConnId, now: Instant) {
        self.due = None;
        self.dialled = Some(now);
        self.conn = Some(Conn::new(id, now));
    }
}

/// All places.
#[derive(Debug)]
pub(super) struct Book {
    places: Vec<Place>,
    count: u32,
}

impl Book {
    /// The author's addresses.
    pub(super) fn new(addresses: &[String]) -> Book {
        let mut book = Book { places: Vec::new(), count: 0 };
        for url in addresses {
            book.add(url, None, true);
        }
        book
    }

    fn add(&mut self, url: &str, node: Option<NodeId>, given: bool) {
        let url = url.trim().trim_end_matches('/');
        if self.places.len() >= PLACES_MAX || self.places.iter().any(|place| place.url == url) {
            return;
        }
        self.count += 1;
        self.places.push(Place {
            id: PlaceId(self.count),
            url: url.to_owned(),
            given,
            node,
            level: None,
            conn: None,
            backoff: Backoff::default(),
            due: None,
            dialled: None,
        });
    }

    /// Takes up an address that a gateway announced. What the author gave for that node stands.
    pub(super) fn announced(&mut self, node: &NodeId, url: &str) {
        let url = url.trim_end_matches('/');
        let plain = url.starts_with("http://") || url.starts_with("https://");
        if !plain || url.len() > URL_MAX_BYTES {
            return;
        }
        if let Some(place) = self.places.iter_mut().find(|place| place.url == url) {
            place.node.get_or_insert_with(|| node.clone());
            return;
        }
        if let Some(place) = self.places.iter_mut().find(|place| place.node.as_ref() == Some(node))
        {
            // A node that moved: its next connection goes to the new address.
            if !place.given && place.conn.is_none() {
                url.clone_into(&mut place.url);
            }
            return;
        }
        self.add(url, Some(node.clone()), false);
    }

    /// Says which node answers at a place. An announced place that turns out to be the same node
    /// as a given one is returned: it is one too many.
    pub(super) fn answers(&mut self, id: PlaceId, node: &NodeId) -> Option<PlaceId> {
        self.get_mut(id)?.node = Some(node.clone());
        self.places
            .iter()
            .find(|p| p.id != id && !p.given && p.node.as_ref() == Some(node))
            .map(|p| p.id)
    }

    /// Forgets a place.
    pub(super) fn remove(&mut self, id: PlaceId) {
        self.places.retain(|place| place.id != id);
    }

    /// How many places there are.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// The first place: where a browser's page came from.
    pub(super) fn first(&self) -> Option<PlaceId> {
        self.places.first().map(|place| place.id)
    }

    /// All places.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Place> {
        self.places.iter()
    }

    /// All places.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Place> {
        self.places.iter_mut()
    }

    /// A place.
    pub(super) fn get(&self, id: PlaceId) -> Option<&Place> {
        self.places.iter().find(|place| place.id == id)
    }

    /// A place.
    pub(super) fn get_mut(&mut self, id: PlaceId) -> Option<&mut Place> {
        self.places.iter_mut().find(|place| place.id == id)
    }

    /// The place of a connection.
    pub(super) fn of(&self, conn: ConnId) -> Option<PlaceId> {
        self.conns().find(|(_, c)| c.id == conn).map(|(place, _)| place.id)
    }

    /// A place's connection.
    pub(super) fn conn_mut(&mut self, id: PlaceId) -> Option<&mut Conn> {
        self.get_mut(id)?.conn.as_mut()
    }

    /// All connections with their places.
    pub(super) fn conns(&self) -> impl Iterator<Item = (&Place, &Conn)> {
        self.places.iter().filter_map(|place| Some((place, place.conn.as_ref()?)))
    }

    /// The place that serves the session.
    pub(super) fn bound(&self) -> Option<(&Place, &Conn)> {
        self.conns().find(|(_, conn)| conn.seat == Seat::Bound)
    }

    /// The place that was asked to take the session.
    pub(super) fn asked(&self) -> Option<(&Place, &Conn)> {
        self.conns().find(|(_, conn)| matches!(conn.seat, Seat::Asked(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::Book;

    fn urls(book: &Book) -> Vec<&str> {
        book.iter().map(|place| place.url.as_str()).collect()
    }

    #[test]
    fn given_addresses_stand_before_announced_ones() {
        let mut book = Book::new(&["http://a:1/".to_owned(), "http://a:1".to_owned()]);
        assert_eq!(urls(&book), ["http://a:1"]);
        let a = "a".parse().unwrap();
        let b = "b".parse().unwrap();
        let first = book.first().unwrap();
        assert_eq!(book.answers(first, &a), None);
        book.announced(&a, "http://10.0.0.1:1");
        book.announced(&b, "http://b:1");
        assert_eq!(urls(&book), ["http://a:1", "http://b:1"]);
        book.announced(&b, "http://b:2");
        assert_eq!(urls(&book), ["http://a:1", "http://b:2"]);
        book.announced(&"c".parse().unwrap(), "ftp://c");
        assert_eq!(book.len(), 2);
    }

    #[test]
    fn the_book_is_bounded() {
        let mut book = Book::new(&[]);
        for n in 0..100 {
            book.announced(&format!("n{n}").parse().unwrap(), &format!("http://n{n}:1"));
        }
        assert_eq!(book.len(), 8);
    }
}
