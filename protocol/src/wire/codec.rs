//! Peer frames: length, then one CBOR message.
//!
//! A frame is a 4-byte big-endian length and that many bytes: an unsigned CBOR integer naming the
//! message, then its body. A message of an unknown number is skipped, never an error: a newer peer
//! may send it (schedule 32). The hello, heartbeats and role messages never change.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::limits::{PEER_FRAME_MAX_BYTES, PEER_WORD_MAX_BYTES};
use crate::wire::peer::Message;

/// Why bytes are not a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Longer than 4 MiB, or than 64 KiB where it moves no items.
    #[error("frame of {length} bytes is longer than it may be")]
    Oversized {
        /// The length that was announced.
        length: usize,
    },
    /// Not a message.
    #[error("frame is not a message: {0}")]
    Malformed(String),
}

/// Appends a message as one frame.
pub fn encode(message: &Message, out: &mut BytesMut) {
    let start = out.len();
    out.put_u32(0);
    // Encoding into memory cannot fail; an empty frame would be dropped by the peer as malformed.
    let _ = minicbor::encode(message, Writer(out));
    let length = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
    if let Some(head) = out.get_mut(start..start + 4) {
        head.copy_from_slice(&length.to_be_bytes());
    }
}

/// Takes one frame from the front of `input`; `None` until a whole one is there.
///
/// # Errors
/// The frame is too long or is not a message; the connection must be closed.
pub fn decode(input: &mut BytesMut) -> Result<Option<Message>, FrameError> {
    loop {
        let Some(head) = input.get(..4) else { return Ok(None) };
        let length = head.iter().fold(0usize, |n, b| (n << 8) | usize::from(*b));
        if length > PEER_FRAME_MAX_BYTES {
            return Err(FrameError::Oversized { length });
        }
        if input.len() < 4 + length {
            return Ok(None);
        }
        input.advance(4);
        let frame: Bytes = input.split_to(length).freeze();
        match minicbor::decode::<Message>(&frame) {
            Ok(message) if length > PEER_WORD_MAX_BYTES && !message.moves_items() => {
                return Err(FrameError::Oversized { length });
            }
            Ok(message) => return Ok(Some(message)),
            Err(error) if names_another_message(&error) => {}
            Err(error) => return Err(FrameError::Malformed(error.to_string())),
        }
    }
}

/// Whether the number of the message itself is unknown: it stands first, behind the array's head.
fn names_another_message(error: &minicbor::decode::Error) -> bool {
    error.is_unknown_variant() && error.position().is_some_and(|at| at <= 1)
}

struct Writer<'a>(&'a mut BytesMut);

impl minicbor::encode::Write for Writer<'_> {
    type Error = core::convert::Infallible;

    fn write_all(&mut self, buf: &[u8]) -> Result<(), Self::Error> {
        self.0.extend_from_slice(buf);
        Ok(())
    }
}

/// CBOR byte strings as [`Bytes`].
pub mod shared_bytes {
    use bytes::Bytes;
    use minicbor::decode::Error as DecodeError;
    use minicbor::encode::{Error as EncodeError, Write};
    use minicbor::{Decoder, Encoder};

    /// Writes a byte string.
    ///
    /// # Errors
    /// The writer's.
    pub fn encode<C, W: Write>(
        v: &Bytes,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        e.bytes(v)?.ok()
    }

    /// Reads a byte string.
    ///
    /// # Errors
    /// It is something else.
    pub fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Bytes, DecodeError> {
        d.bytes().map(Bytes::copy_from_slice)
    }
}

/// CBOR byte strings or null as `Option<Bytes>`.
pub mod shared_bytes_option {
    use bytes::Bytes;
    use minicbor::data::Type;
    use minicbor::decode::Error as DecodeError;
    use minicbor::encode::{Error as EncodeError, Write};
    use minicbor::{Decoder, Encoder};

    /// Writes a byte string or null.
    ///
    /// # Errors
    /// The writer's.
    pub fn encode<C, W: Write>(
        v: &Option<Bytes>,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        match v {
            Some(bytes) => e.bytes(bytes)?.ok(),
            None => e.null()?.ok(),
        }
    }

    /// Reads a byte string or null.
    ///
    /// # Errors
    /// It is something else.
    pub fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Option<Bytes>, DecodeError> {
        if d.datatype()? == Type::Null {
            d.null()?;
            return Ok(None);
        }
        d.bytes().map(Bytes::copy_from_slice).map(Some)
    }
}
