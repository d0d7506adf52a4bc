//! The proxy's own answers: JSON with one word for programs and one sentence for people.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use serde::Serialize;

use crate::body::ReplyBody;
use crate::hold::Refusal;

/// Seconds after which a refused request may be tried again: a switch is over by then.
const RETRY_AFTER_S: &str = "1";

/// An answer with a JSON body.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Response<ReplyBody> {
    let body = serde_json::to_vec(value).unwrap_or_default();
    let mut response = Response::new(ReplyBody::Own(Some(Bytes::from(body))));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// An answer that says what went wrong.
pub(crate) fn error(status: StatusCode, word: &str, sentence: &str) -> Response<ReplyBody> {
    #[derive(Serialize)]
    struct Wrong<'a> {
        error: &'a str,
        reason: &'a str,
    }
    tracing::debug!(%status, word, sentence, "answering for the pair");
    json(status, &Wrong { error: word, reason: sentence })
}

/// The request was not held to its end; nothing was done.
pub(crate) fn refused(refusal: Refusal) -> Response<ReplyBody> {
    let (word, sentence) = match refusal {
        Refusal::Full => ("too_many_waiting", "Too many requests wait. Nothing was done."),
        Refusal::TooLong => ("no_active_node", "No node is active. Nothing was done."),
    };
    let mut response = error(StatusCode::SERVICE_UNAVAILABLE, word, sentence);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_S));
    response
}
