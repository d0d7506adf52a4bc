//! One direction of a WebSocket: bytes come in as they are cut, whole units go out as they are.
//!
//! What is complete is written at once from the shared read buffer; only the rest is kept, and an
//! idle lane keeps nothing.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;

use super::frame::{Tracker, Unit, Violation};

/// What is to be done with a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pass {
    /// It goes on.
    On,
    /// It goes nowhere.
    Drop,
    /// Neither it nor what follows counts any more.
    Stop,
}

/// The direction.
#[derive(Debug)]
pub(crate) struct Lane {
    tracker: Tracker,
    /// The beginning of a unit.
    partial: BytesMut,
    /// Whole units that are not written yet.
    out: BytesMut,
}

impl Lane {
    /// Nothing under way.
    pub(crate) fn new(tracker: Tracker) -> Lane {
        Lane { tracker, partial: BytesMut::new(), out: BytesMut::new() }
    }

    /// Takes what was read; `each` judges the units that are complete. False: it said stop.
    pub(crate) fn feed(
        &mut self,
        read: &[u8],
        to: Option<&TcpStream>,
        each: impl FnMut(&Unit, &[u8]) -> Pass,
    ) -> Result<bool, Violation> {
        if self.partial.is_empty() {
            let (used, goes_on) = self.units(read, to, each)?;
            self.partial.extend_from_slice(read.get(used..).unwrap_or_default());
            return Ok(goes_on);
        }
        let mut bytes = std::mem::take(&mut self.partial);
        bytes.extend_from_slice(read);
        let (used, goes_on) = self.units(&bytes, to, each)?;
        bytes.advance(used);
        if !bytes.is_empty() {
            self.partial = bytes;
        }
        Ok(goes_on)
    }

    fn units(
        &mut self,
        bytes: &[u8],
        to: Option<&TcpStream>,
        mut each: impl FnMut(&Unit, &[u8]) -> Pass,
    ) -> Result<(usize, bool), Violation> {
        // Units that go on and lie side by side are written together.
        let (mut run, mut at) = (0, 0);
        while let Some(unit) = self.tracker.next(bytes.get(at..).unwrap_or_default())? {
            let end = at + unit.len;
            match each(&unit, bytes.get(at..end).unwrap_or_default()) {
                Pass::On => {}
                Pass::Drop => {
                    self.give(bytes.get(run..at).unwrap_or_default(), to);
                    run = end;
                }
                Pass::Stop => {
                    self.give(bytes.get(run..at).unwrap_or_default(), to);
                    return Ok((bytes.len(), false));
                }
            }
            at = end;
        }
        self.give(bytes.get(run..at).unwrap_or_default(), to);
        Ok((at, true))
    }

    fn give(&mut self, units: &[u8], to: Option<&TcpStream>) {
        let written = match to {
            // An error is seen again, and handled, when the rest is written.
            Some(to) if self.out.is_empty() && !units.is_empty() => {
                to.try_write(units).unwrap_or(0)
            }
            Some(_) | None => 0,
        };
        self.out.extend_from_slice(units.get(written..).unwrap_or_default());
    }

    /// Puts a whole frame behind the units that are not written yet.
    pub(crate) fn push(&mut self, frame: &[u8]) {
        self.out.extend_from_slice(frame);
    }

    /// Whether units wait to be written.
    pub(crate) fn is_full(&self) -> bool {
        !self.out.is_empty()
    }

    /// Whether a frame may be pushed without breaking another.
    pub(crate) fn between_frames(&self) -> bool {
        self.tracker.between_frames()
    }

    /// Writes what waits, as much as goes.
    pub(crate) fn write(&mut self, to: &TcpStream) -> io::Result<()> {
        while !self.out.is_empty() {
            match to.try_write(&self.out) {
                Ok(written) => self.out.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.out = BytesMut::new();
        Ok(())
    }

    /// The one who speaks is gone: what it began is forgotten, what it completed goes on.
    pub(crate) fn lose_source(&mut self) {
        self.partial = BytesMut::new();
        self.tracker.restart();
    }

    /// The one who listens is gone: what it did not get is forgotten, what was begun goes on.
    pub(crate) fn lose_sink(&mut self) {
        self.out = BytesMut::new();
    }

    /// What waits to be written.
    pub(crate) fn take_out(&mut self) -> BytesMut {
        std::mem::take(&mut self.out)
    }
}

/// What can be read now; `None`: nothing will come any more.
pub(crate) fn poll_read<'a>(
    stream: &mut TcpStream,
    cx: &mut Context<'_>,
    buffer: &'a mut [u8],
) -> Poll<Option<&'a [u8]>> {
    let mut read = ReadBuf::new(&mut *buffer);
    let len = match ready!(Pin::new(stream).poll_read(cx, &mut read)) {
        Ok(()) => read.filled().len(),
        Err(_) => 0,
    };
    Poll::Ready(buffer.get(..len).filter(|bytes| !bytes.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::super::frame::{Kind, Speaker, Tracker, Unit, text};
    use super::{Lane, Pass};

    fn lane() -> Lane {
        Lane::new(Tracker::messages(Speaker::Node))
    }

    #[test]
    fn only_whole_units_go_out() {
        let bytes = [text("one"), text("two"), text("three")].concat();
        for cut in 0..=bytes.len() {
            let mut lane = lane();
            let (first, second) = bytes.split_at(cut);
            assert_eq!(lane.feed(first, None, |_, _| Pass::On), Ok(true));
            let whole = [0, 5, 10, bytes.len()].into_iter().filter(|w| *w <= cut).max().unwrap();
            assert_eq!(lane.out, bytes[..whole]);
            assert_eq!(lane.feed(second, None, |_, _| Pass::On), Ok(true));
            assert_eq!(lane.take_out(), bytes);
            assert!(lane.partial.is_empty());
        }
    }

    #[test]
    fn units_can_be_dropped_and_stopped() {
        let bytes = [text("one"), text("two"), text("three"), text("four")].concat();
        let mut lane = lane();
        let judge = |_: &Unit, unit: &[u8]| match unit {
            unit if unit.ends_with(b"one") => Pass::Drop,
            unit if unit.ends_with(b"three") => Pass::Stop,
            _ => Pass::On,
        };
        assert_eq!(lane.feed(&bytes, None, judge), Ok(false));
        assert_eq!(lane.take_out(), text("two"));
    }

    #[test]
    fn what_a_lost_source_began_is_forgotten() {
        let mut lane = lane();
        let half = &text("half a frame")[..6];
        let bytes = [text("whole").as_slice(), half].concat();
        assert_eq!(lane.feed(&bytes, None, |_, _| Pass::On), Ok(true));
        lane.lose_source();
        let next = text("next");
        let each = |unit: &Unit, _: &[u8]| {
            assert_eq!(unit.kind, Kind::Data);
            Pass::On
        };
        assert_eq!(lane.feed(&next, None, each), Ok(true));
        assert_eq!(lane.take_out(), [text("whole"), next].concat());
    }
}
