//! Two versions in one pair: messages through their bytes, with what only a newer node knows.
//!
//! In some seeds each message is read back from its bytes as it is; in others node 1 is of a newer
//! version: its messages have a field more, and among them come messages that nobody knows.

use bytes::{BufMut, BytesMut};
use tandem_protocol::wire::codec;
use tandem_protocol::wire::peer::Message;

/// A message that only a newer version has: number 250, without fields.
const UNKNOWN: [u8; 8] = [0, 0, 0, 4, 0x82, 0x18, 250, 0x80];

/// How the messages of a seed travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// As they are.
    Plain,
    /// Through their bytes.
    Bytes,
    /// Through bytes of a newer version.
    Newer,
}

impl Way {
    /// The way of a seed's messages from this node.
    pub(super) const fn of(seed: u64, host: usize) -> Way {
        match (seed % 8, host) {
            (4, 1) => Way::Newer,
            (0 | 4, _) => Way::Bytes,
            _ => Way::Plain,
        }
    }

    /// The message as its receiver reads it.
    pub(super) fn through(self, message: Message) -> Message {
        match self {
            Way::Plain => message,
            Way::Bytes => coded(&message, false),
            Way::Newer => coded(&message, true),
        }
    }
}

fn coded(message: &Message, newer: bool) -> Message {
    let mut bytes = BytesMut::new();
    if newer {
        bytes.put_slice(&UNKNOWN);
    }
    let start = bytes.len();
    codec::encode(message, &mut bytes);
    if newer {
        let frame = bytes.split_off(start);
        bytes.unsplit(with_a_field_more(frame));
    }
    match codec::decode(&mut bytes) {
        Ok(Some(read)) => {
            assert_eq!(read, *message, "a message changes on the wire");
            read
        }
        Ok(None) | Err(_) => unreachable!("a message that cannot be read back: {message:?}"),
    }
}

/// The frame with one field more at the end of its body, where the body is a short array.
fn with_a_field_more(frame: BytesMut) -> BytesMut {
    let mut whole = frame.clone();
    let Some(body) = frame.get(4..) else { return whole };
    // An array of two: the number (one byte, or two from 24 on), then the fields.
    let fields = if body.get(1).is_some_and(|number| *number == 0x18) { 3 } else { 2 };
    if let Some(head @ 0x80..=0x92) = body.get(fields).copied() {
        // Fields that are not set may be left out at the end: the new one comes after them all.
        let more = b"\xf6\xf6\xf6\xf6\x64more";
        let length = u32::try_from(body.len() + more.len()).unwrap_or(u32::MAX);
        whole.put_slice(more);
        whole[4 + fields] = head + 5;
        whole[..4].copy_from_slice(&length.to_be_bytes());
    }
    whole
}
