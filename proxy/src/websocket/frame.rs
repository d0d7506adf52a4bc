//! Where frames and messages of a WebSocket begin and end (RFC 6455, 5.2), without reading them.
//!
//! A *unit* is what is forwarded whole: for a session's socket a message with all its fragments,
//! or a control frame; for any other WebSocket one frame. Between two units anybody may speak.

use tandem_protocol::limits::SESSION_MESSAGE_MAX_BYTES;

use crate::limits::FRAMING_SLACK_BYTES;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;
const TEXT: u8 = 0x1;
const CLOSE: u8 = 0x8;
const PONG: u8 = 0xa;
/// Payload of a control frame (RFC 6455, 5.5).
const CONTROL_MAX_BYTES: usize = 125;

/// Close codes (RFC 6455, 7.4.1, and the IANA registry).
pub(crate) mod code {
    /// The purpose is fulfilled.
    pub(crate) const NORMAL: u16 = 1000;
    /// An endpoint goes away.
    pub(crate) const GOING_AWAY: u16 = 1001;
    /// A frame breaks the protocol.
    pub(crate) const PROTOCOL: u16 = 1002;
    /// A message is too large.
    pub(crate) const TOO_LARGE: u16 = 1009;
    /// Something here went wrong.
    pub(crate) const INTERNAL: u16 = 1011;
    /// The service restarts: connect again.
    pub(crate) const RESTART: u16 = 1012;
}

/// What a unit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A message, or a frame of one.
    Data,
    /// The end, with its code.
    Close(Option<u16>),
    /// A ping.
    Ping,
    /// A pong.
    Pong,
}

/// One unit at the beginning of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unit {
    /// Its length with all headers.
    pub(crate) len: usize,
    /// What it is.
    pub(crate) kind: Kind,
}

/// What is wrong with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Violation {
    /// It breaks RFC 6455.
    #[error("not a frame of RFC 6455: {0}")]
    Malformed(&'static str),
    /// It is larger than a session's messages may be.
    #[error("a message above {SESSION_MESSAGE_MAX_BYTES} bytes")]
    TooLarge,
}

impl Violation {
    /// The close code that tells it.
    pub(crate) fn code(self) -> u16 {
        match self {
            Violation::Malformed(_) => code::PROTOCOL,
            Violation::TooLarge => code::TOO_LARGE,
        }
    }
}

/// Whose frames they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaker {
    /// A client's: masked.
    Client,
    /// A node's: not masked.
    Node,
}

/// Finds units.
#[derive(Debug)]
pub(crate) struct Tracker {
    by: Speaker,
    whole_messages: bool,
    /// Bytes of the unit at hand whose frames are known to be complete.
    scanned: usize,
    /// Whether a message has begun and not ended.
    in_message: bool,
    /// What is left of a frame that is too large to be kept; only where frames are units.
    through: u64,
}

struct Header {
    fin: bool,
    reserved: bool,
    opcode: u8,
    masked: bool,
    len: usize,
    payload: u64,
}

impl Tracker {
    /// For a session's socket: units are messages, and there are no extensions.
    pub(crate) fn messages(by: Speaker) -> Tracker {
        Tracker { by, whole_messages: true, scanned: 0, in_message: false, through: 0 }
    }

    /// For any other WebSocket: units are frames of any size.
    pub(crate) fn frames(by: Speaker) -> Tracker {
        Tracker { by, whole_messages: false, scanned: 0, in_message: false, through: 0 }
    }

    /// Forgets what was begun: another node speaks from here on.
    pub(crate) fn restart(&mut self) {
        (self.scanned, self.in_message, self.through) = (0, false, 0);
    }

    /// Whether a frame may be put in here; false in the middle of a frame that was not kept.
    pub(crate) fn between_frames(&self) -> bool {
        self.through == 0
    }

    /// The next unit; `bytes` begin where the one before it ended. `None`: it is not complete.
    pub(crate) fn next(&mut self, bytes: &[u8]) -> Result<Option<Unit>, Violation> {
        if self.through > 0 {
            return Ok(self.next_part(bytes));
        }
        loop {
            let rest = bytes.get(self.scanned..).unwrap_or_default();
            let Some(header) = parse(rest)? else { return Ok(None) };
            self.check(&header)?;
            let payload = usize::try_from(header.payload).unwrap_or(usize::MAX);
            if payload > SESSION_MESSAGE_MAX_BYTES {
                if self.whole_messages {
                    return Err(Violation::TooLarge);
                }
                self.through = header.payload;
                return Ok(Some(Unit { len: header.len, kind: Kind::Data }));
            }
            let end = header.len + payload;
            if self.scanned + end > SESSION_MESSAGE_MAX_BYTES + FRAMING_SLACK_BYTES {
                return Err(Violation::TooLarge);
            }
            if rest.len() < end {
                return Ok(None);
            }
            self.scanned += end;
            if let Some(kind) = self.ends_unit(&header, rest) {
                let len = std::mem::take(&mut self.scanned);
                return Ok(Some(Unit { len, kind }));
            }
        }
    }

    fn next_part(&mut self, bytes: &[u8]) -> Option<Unit> {
        let len = usize::try_from(self.through).unwrap_or(usize::MAX).min(bytes.len());
        self.through -= len as u64;
        (len > 0).then_some(Unit { len, kind: Kind::Data })
    }

    fn check(&self, header: &Header) -> Result<(), Violation> {
        let wrong = |why| Err(Violation::Malformed(why));
        if header.masked != (self.by == Speaker::Client) {
            return wrong("the mask");
        }
        if !matches!(header.opcode, 0..=2 | 8..=10) {
            return wrong("the opcode");
        }
        if header.opcode >= CLOSE && (!header.fin || header.payload > CONTROL_MAX_BYTES as u64) {
            return wrong("a long or broken control frame");
        }
        if !self.whole_messages {
            return Ok(());
        }
        if header.reserved {
            return wrong("an extension that was not agreed on");
        }
        if header.opcode < CLOSE && (header.opcode == 0) != self.in_message {
            return wrong("the order of fragments");
        }
        Ok(())
    }

    fn ends_unit(&mut self, header: &Header, frame: &[u8]) -> Option<Kind> {
        match header.opcode {
            CLOSE => Some(Kind::Close(close_code(header, frame))),
            9 if !self.in_message => Some(Kind::Ping),
            PONG if !self.in_message => Some(Kind::Pong),
            // Between the fragments of a message a control frame belongs to the unit.
            9 | PONG => None,
            _ => {
                self.in_message = self.whole_messages && !header.fin;
                (!self.in_message).then_some(Kind::Data)
            }
        }
    }
}

fn parse(bytes: &[u8]) -> Result<Option<Header>, Violation> {
    let &[first, second, ref rest @ ..] = bytes else { return Ok(None) };
    let masked = second & MASKED != 0;
    let (size, payload) = match second & !MASKED {
        126 => match rest {
            &[a, b, ..] => (2, u64::from(u16::from_be_bytes([a, b]))),
            _ => return Ok(None),
        },
        127 => match rest.first_chunk::<8>() {
            Some(long) => (8, u64::from_be_bytes(*long)),
            None => return Ok(None),
        },
        short => (0, u64::from(short)),
    };
    if payload > u64::MAX / 2 {
        return Err(Violation::Malformed("the length"));
    }
    let len = 2 + size + if masked { 4 } else { 0 };
    let header = Header {
        fin: first & FIN != 0,
        reserved: first & RESERVED != 0,
        opcode: first & 0x0f,
        masked,
        len,
        payload,
    };
    Ok((bytes.len() >= len).then_some(header))
}

fn close_code(header: &Header, frame: &[u8]) -> Option<u16> {
    let plain = payload(header, frame);
    let code = plain.first_chunk::<2>()?;
    Some(u16::from_be_bytes(*code))
}

fn payload(header: &Header, frame: &[u8]) -> Vec<u8> {
    let len = usize::try_from(header.payload).unwrap_or(0);
    let mut plain = frame.get(header.len..header.len + len).unwrap_or_default().to_vec();
    if header.masked
        && let Some(mask) = frame.get(header.len - 4..header.len)
    {
        for (byte, mask) in plain.iter_mut().zip(mask.iter().cycle()) {
            *byte ^= mask;
        }
    }
    plain
}

/// The answer to a client's ping, which is one whole frame.
pub(crate) fn pong(ping: &[u8]) -> Vec<u8> {
    let payload = match parse(ping) {
        Ok(Some(header)) => payload(&header, ping),
        Ok(None) | Err(_) => Vec::new(),
    };
    from_node(PONG, &payload)
}

/// A text frame, as a node sends it.
pub(crate) fn text(text: &str) -> Vec<u8> {
    from_node(TEXT, text.as_bytes())
}

/// A close frame, as a node sends it.
pub(crate) fn close(code: u16, reason: &str) -> Vec<u8> {
    let mut payload = code.to_be_bytes().to_vec();
    let room = CONTROL_MAX_BYTES - payload.len();
    let cut = reason.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|e| *e <= room);
    let end = cut.last().unwrap_or(0);
    payload.extend_from_slice(reason.get(..end).unwrap_or_default().as_bytes());
    from_node(CLOSE, &payload)
}

fn from_node(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(payload.len() + 10);
    frame.push(FIN | opcode);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short @ 0..=125), _) => frame.push(short),
        (_, Ok(medium)) => {
            frame.push(126);
            frame.extend_from_slice(&medium.to_be_bytes());
        }
        (_, Err(_)) => {
            frame.push(127);
            frame.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame
}

#[cfg(test)]
mod tests;
