//! Proving the pair's secret without sending it.
//!
//! HMAC-SHA-256 (RFC 2104) by the secret over a label, both nonces and the hello with a proof of
//! zeros. Both nonces are new for each link, so that nothing recorded can be played again; the
//! label names the sender's side, so that nothing can be reflected.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::gateway::input::{Secret, Side};
use crate::wire::peer::Hello;

/// The two nonces of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Nonces {
    pub(super) dialer: [u8; 32],
    pub(super) listener: [u8; 32],
}

/// The proof that belongs into this hello, said by this side.
pub(super) fn of_hello(secret: &Secret, side: Side, nonces: Nonces, hello: &Hello) -> [u8; 32] {
    let mut bare = hello.clone();
    bare.proof = [0; 32];
    let body = minicbor::to_vec(&bare).unwrap_or_default();
    let label: &[u8] = match side {
        Side::Dialer => b"tandem hello dialer",
        Side::Listener => b"tandem hello listener",
    };
    mac(secret, &[label, &nonces.dialer, &nonces.listener, &body])
}

/// The proof with which the link's bulk connection opens.
pub(super) fn of_bulk(secret: &Secret, nonces: Nonces) -> [u8; 32] {
    mac(secret, &[b"tandem bulk", &nonces.dialer, &nonces.listener])
}

/// Whether two proofs are equal, in a time that does not depend on where they differ.
pub(super) fn equal(one: &[u8; 32], other: &[u8; 32]) -> bool {
    one.iter().zip(other).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}

fn mac(secret: &Secret, parts: &[&[u8]]) -> [u8; 32] {
    // HMAC takes a key of any length, so that this cannot fail; a zero proof proves nothing.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&secret.0) else { return [0; 32] };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}
