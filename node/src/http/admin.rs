//! Whether a request may change the node: it presents the admin token.
//!
//! Which paths need it is the router's and the paths' own matter.

use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::State;
use super::reply::Failure;

/// Whether the request presents the admin token.
///
/// # Errors
/// 401 that says where the token is.
pub(super) fn allowed(state: &State, headers: &HeaderMap) -> Result<(), Failure> {
    let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some(given) = given else {
        return Err(Failure::unauthorized("needs the admin token"));
    };
    // The scheme's case does not matter (RFC 9110 section 11.1).
    let token = match given.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        Some(_) | None => return Err(Failure::unauthorized("the credentials are no Bearer token")),
    };
    if state.options.admin.matches(token) {
        return Ok(());
    }
    Err(Failure::unauthorized("the token is not this node's admin token"))
}
