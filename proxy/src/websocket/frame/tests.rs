//! Units are found wherever the bytes are cut, and nothing wrong passes.

use super::{Kind, Speaker, Tracker, Unit, Violation, close, code, from_node, pong, text};

/// A client's frame.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [1, 2, 3, 4];
    let mut frame = from_node(0, payload);
    frame[0] = first;
    frame[1] |= 0x80;
    let at = frame.len() - payload.len();
    for (i, byte) in frame[at..].iter_mut().enumerate() {
        *byte ^= mask[i % 4];
    }
    frame.splice(at..at, mask);
    frame
}

fn units(tracker: &mut Tracker, bytes: &[u8]) -> Result<Vec<Unit>, Violation> {
    let mut units = Vec::new();
    let mut at = 0;
    while let Some(unit) = tracker.next(&bytes[at..])? {
        at += unit.len;
        units.push(unit);
    }
    Ok(units)
}

#[test]
fn a_unit_is_complete_at_its_last_byte() {
    for size in [0, 1, 125, 126, 65_535, 65_536, 200_000] {
        let frame = from_node(1, &vec![b'x'; size]);
        let mut tracker = Tracker::messages(Speaker::Node);
        for cut in [0, 1, 2, 3, 9, frame.len() - 1] {
            let cut = cut.min(frame.len() - 1);
            assert_eq!(tracker.next(&frame[..cut]), Ok(None), "{size} {cut}");
        }
        let unit = Unit { len: frame.len(), kind: Kind::Data };
        assert_eq!(tracker.next(&frame), Ok(Some(unit)));
    }
}

#[test]
fn fragments_are_one_unit_with_what_lies_between_them() {
    let parts = [masked(0x01, b"ab"), masked(0x89, b"p"), masked(0x00, b"c"), masked(0x80, b"d")];
    let message: Vec<u8> = parts.concat();
    let mut tracker = Tracker::messages(Speaker::Client);
    for cut in 0..message.len() {
        assert_eq!(tracker.next(&message[..cut]), Ok(None), "{cut}");
    }
    let unit = Unit { len: message.len(), kind: Kind::Data };
    assert_eq!(tracker.next(&message), Ok(Some(unit)));
}

#[test]
fn control_frames_are_told_apart() {
    let bytes = [masked(0x89, b"hi"), masked(0x8a, b""), masked(0x88, &[3, 0xe9])].concat();
    let kinds: Vec<_> = units(&mut Tracker::messages(Speaker::Client), &bytes)
        .unwrap()
        .iter()
        .map(|unit| unit.kind)
        .collect();
    assert_eq!(kinds, [Kind::Ping, Kind::Pong, Kind::Close(Some(code::GOING_AWAY))]);
    assert_eq!(pong(&masked(0x89, b"hi")), from_node(0xa, b"hi"));
}

#[test]
fn wrong_frames_are_refused() {
    let malformed = |from, bytes: &[u8]| {
        let error = units(&mut Tracker::messages(from), bytes).unwrap_err();
        assert_eq!(error.code(), code::PROTOCOL, "{error}");
    };
    malformed(Speaker::Client, &text("no mask"));
    malformed(Speaker::Node, &masked(0x81, b"mask"));
    malformed(Speaker::Node, &[0xc1, 0]);
    malformed(Speaker::Node, &[0x83, 0]);
    malformed(Speaker::Node, &[0x09, 0]);
    malformed(Speaker::Node, &[0x89, 126, 0, 126]);
    malformed(Speaker::Node, &[0x80, 0]);
    malformed(Speaker::Node, &[0x01, 0, 0x81, 0]);
    malformed(Speaker::Node, &[0x82, 127, 255, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn a_session_message_has_a_size() {
    let mut tracker = Tracker::messages(Speaker::Node);
    let large = from_node(1, &vec![0; 256 * 1024 + 1]);
    assert_eq!(tracker.next(&large[..10]), Err(Violation::TooLarge));
    let mut tracker = Tracker::messages(Speaker::Node);
    let mut fragments = from_node(1, &vec![0; 200 * 1024]);
    fragments[0] = 0x01;
    fragments.extend(from_node(0, &vec![0; 200 * 1024]));
    assert_eq!(tracker.next(&fragments), Err(Violation::TooLarge));
}

#[test]
fn large_frames_of_others_go_through_in_parts() {
    let mut frame = from_node(2, &vec![7; 1_000_000]);
    frame[0] |= 0x40;
    let mut tracker = Tracker::frames(Speaker::Node);
    let mut rest = frame.as_slice();
    let mut given = 0;
    while !rest.is_empty() {
        let chunk = &rest[..rest.len().min(50_000)];
        let sizes: usize = units(&mut tracker, chunk).unwrap().iter().map(|unit| unit.len).sum();
        given += sizes;
        rest = &rest[sizes..];
        assert_eq!(tracker.between_frames(), rest.is_empty());
    }
    assert_eq!(given, frame.len());
}

#[test]
fn a_close_frame_has_a_short_reason() {
    let frame = close(code::RESTART, &"ä".repeat(200));
    assert_eq!(frame.len(), 2 + 2 + 122);
    let unit = Tracker::messages(Speaker::Node).next(&frame).unwrap().unwrap();
    assert_eq!(unit.kind, Kind::Close(Some(code::RESTART)));
}
