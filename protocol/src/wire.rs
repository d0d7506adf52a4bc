//! What goes over a wire: between the nodes (CBOR) and to clients (JSON).

pub mod codec;
pub mod http;
pub mod peer;
pub mod session;
