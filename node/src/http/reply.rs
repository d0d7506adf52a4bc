//! Answers: bodies with their headers, and failures as JSON `{error, reason}`.

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName,
    HeaderValue, IF_NONE_MATCH, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, Response, StatusCode};
use serde::Serialize;

use super::metrics::Rejection;

mod body;

pub(super) use body::Body;

/// An answer.
pub(super) type Reply = Response<Body>;

/// An answer that is not what was asked for.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    /// How it is counted.
    pub(super) rejection: Rejection,
    error: &'static str,
    reason: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// More of the answer, beside `error` and `reason`.
    more: serde_json::Map<String, serde_json::Value>,
}

impl Failure {
    fn new(status: StatusCode, rejection: Rejection, error: &'static str, reason: String) -> Self {
        let (headers, more) = (Vec::new(), serde_json::Map::new());
        Failure { status, rejection, error, reason, headers, more }
    }

    /// 400: the request cannot be read.
    pub(super) fn wrong(error: &'static str, reason: impl Into<String>) -> Failure {
        Failure::new(StatusCode::BAD_REQUEST, Rejection::Wrong, error, reason.into())
    }

    /// 404, naming what there is none of.
    pub(super) fn not_found(reason: impl Into<String>) -> Failure {
        Failure::new(StatusCode::NOT_FOUND, Rejection::Wrong, "not_found", reason.into())
    }

    /// 405 with what is allowed.
    pub(super) fn method(allowed: &'static str) -> Failure {
        let reason = format!("allowed here: {allowed}");
        let status = StatusCode::METHOD_NOT_ALLOWED;
        Failure::new(status, Rejection::Wrong, "method_not_allowed", reason)
            .with(ALLOW, HeaderValue::from_static(allowed))
    }

    /// 403: a page of another site asks.
    pub(super) fn origin(origin: &str) -> Failure {
        let reason = format!("pages of {origin} may not use this gateway");
        Failure::new(StatusCode::FORBIDDEN, Rejection::Origin, "origin", reason)
    }

    /// 403: a page asks under a name that may be anybody's.
    pub(super) fn unknown_name(origin: &str) -> Failure {
        let reason = format!(
            "this gateway does not know that it is {origin}: set public_address to that in the \
             options of one of the pair's nodes, or ask by address"
        );
        Failure::new(StatusCode::FORBIDDEN, Rejection::Origin, "origin", reason)
    }

    /// 401: only who holds the admin token may do this.
    pub(super) fn unauthorized(why: &str) -> Failure {
        let reason = format!(
            "{why}: send `Authorization: Bearer TOKEN`; it is in the file {} of this node's data \
             folder",
            crate::admin::FILE
        );
        let status = StatusCode::UNAUTHORIZED;
        Failure::new(status, Rejection::Unauthorized, "unauthorized", reason)
            .with(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
    }

    /// 413: a body above the limit; the connection ends with it.
    pub(super) fn oversized(limit: usize) -> Failure {
        let reason = format!("the body is longer than {limit} bytes");
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, Rejection::Oversized, "oversized", reason)
            .closing()
    }

    /// 408: a body that did not come in time; the connection ends with it.
    pub(super) fn slow_body() -> Failure {
        let reason = "the body did not come in time".to_owned();
        Failure::new(StatusCode::REQUEST_TIMEOUT, Rejection::SlowBody, "timeout", reason).closing()
    }

    /// An upgrade that is not what the path serves.
    pub(super) fn upgrade(reason: impl Into<String>) -> Failure {
        let status = StatusCode::BAD_REQUEST;
        Failure::new(status, Rejection::Upgrade, "bad_upgrade", reason.into())
    }

    /// 503: no slot is free; the connection ends with it.
    pub(super) fn full(what: &str) -> Failure {
        let reason = format!("too many {what} at the same time");
        Failure::new(StatusCode::SERVICE_UNAVAILABLE, Rejection::Full, "busy", reason)
            .with(RETRY_AFTER, HeaderValue::from_static("1"))
            .closing()
    }

    /// 507: there is no space; nothing was done.
    pub(super) fn disk_full() -> Failure {
        let reason = "the disk is full: nothing was done";
        Failure::failed(StatusCode::INSUFFICIENT_STORAGE, "disk_full", reason)
    }

    /// 503 with `Tandem-Standby`: nothing was done.
    pub(super) fn standby(counter: u64, reason: String) -> Failure {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Failure::new(status, Rejection::Standby, "standby", reason)
            .with(HeaderName::from_static("tandem-standby"), HeaderValue::from(counter))
    }

    /// What this node could not do.
    pub(super) fn failed(status: StatusCode, error: &'static str, reason: &str) -> Failure {
        Failure::new(status, Rejection::Failed, error, reason.to_owned())
    }

    /// What the client asked for and cannot have.
    pub(super) fn refused(
        status: StatusCode,
        error: &'static str,
        reason: impl Into<String>,
    ) -> Failure {
        Failure::new(status, Rejection::Wrong, error, reason.into())
    }

    /// Adds a header.
    pub(super) fn with(mut self, name: HeaderName, value: HeaderValue) -> Failure {
        self.headers.push((name, value));
        self
    }

    /// Adds a field to the answer.
    pub(super) fn field(mut self, name: &str, value: impl Into<serde_json::Value>) -> Failure {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    fn closing(self) -> Failure {
        self.with(CONNECTION, HeaderValue::from_static("close"))
    }

    /// What to read.
    pub(super) fn reason(&self) -> &str {
        &self.reason
    }

    /// Whether there is nothing at this path.
    pub(super) fn is_not_found(&self) -> bool {
        self.status == StatusCode::NOT_FOUND
    }

    /// Says that a part was done before: the names of what was done, of so many.
    pub(super) fn after(mut self, done: Vec<String>, all: usize) -> Failure {
        if !done.is_empty() {
            self.reason =
                format!("{} of {all} items are applied; then: {}", done.len(), self.reason);
            self.more.insert("applied".to_owned(), done.into());
        }
        self
    }

    /// The failure as JSON.
    pub(super) fn into_reply(self) -> Reply {
        let mut body = self.more;
        body.insert("error".to_owned(), self.error.into());
        body.insert("reason".to_owned(), self.reason.into());
        let mut reply = json(self.status, &body);
        for (name, value) in self.headers {
            reply.headers_mut().insert(name, value);
        }
        reply
    }
}

/// A body of a type.
pub(super) fn text(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Reply {
    typed(status, HeaderValue::from_static(kind), body.into())
}

/// 200 without a body.
pub(super) fn empty() -> Reply {
    text(StatusCode::OK, "text/plain", Bytes::new())
}

/// JSON; never kept by caches, because all of it is state.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Reply {
    // Our own types always serialize; an empty object is the honest worst case.
    let body = serde_json::to_vec(value).unwrap_or_else(|_| b"{}".to_vec());
    text(status, "application/json", body)
}

/// HTML that is rendered for each request.
pub(super) fn html(status: StatusCode, body: String) -> Reply {
    let mut reply = text(status, "text/html; charset=utf-8", body);
    let headers = reply.headers_mut();
    // A hand-over token travels in a fragment; nothing of an address goes to other sites.
    headers.insert("referrer-policy", HeaderValue::from_static("same-origin"));
    reply
}

/// Leads to another path.
pub(super) fn redirect(location: &str) -> Reply {
    let mut reply = text(StatusCode::TEMPORARY_REDIRECT, "text/plain", Bytes::new());
    if let Ok(location) = HeaderValue::from_str(location) {
        reply.headers_mut().insert(LOCATION, location);
    }
    reply
}

fn typed(status: StatusCode, kind: HeaderValue, body: Bytes) -> Reply {
    let mut reply = Response::new(Body::from(body));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, kind);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // A page inside another site's frame could be clicked unseen.
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("frame-ancestors 'self'"));
    reply
}

/// How long a file may be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// Its name holds its hash: for ever.
    ForEver,
    /// It is asked for anew each time.
    Ask,
}

/// A file: from the store or from a folder.
pub(super) struct File {
    /// Its bytes.
    pub(super) body: Bytes,
    /// Its type.
    pub(super) kind: HeaderValue,
    /// Changes with its content, without quotes.
    pub(super) tag: String,
    /// How long it may be kept.
    pub(super) keep: Keep,
}

/// A file with its validator: 304 where the client has it.
pub(super) fn file(headers: &HeaderMap, file: File) -> Reply {
    let tag = format!("\"{}\"", file.tag);
    let known = headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|value| value.trim().trim_start_matches("W/") == tag);
    let mut reply = if known {
        typed(StatusCode::NOT_MODIFIED, file.kind, Bytes::new())
    } else {
        typed(StatusCode::OK, file.kind, file.body)
    };
    let keep = match file.keep {
        Keep::ForEver => "public, max-age=31536000, immutable",
        Keep::Ask => "no-cache",
    };
    let headers = reply.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(keep));
    headers.insert("referrer-policy", HeaderValue::from_static("same-origin"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(ETAG, tag);
    }
    reply
}

/// The type of a file by its name.
pub(super) fn kind_of(name: &str) -> HeaderValue {
    let guess = mime_guess::from_path(name).first_or_octet_stream();
    let charset = matches!(
        (guess.type_().as_str(), guess.subtype().as_str()),
        ("text", _) | ("application", "javascript" | "json")
    );
    let kind = if charset { format!("{guess}; charset=utf-8") } else { guess.to_string() };
    HeaderValue::from_str(&kind).unwrap_or(HeaderValue::from_static("application/octet-stream"))
}

#[cfg(test)]
mod tests {
    use tandem_protocol::wire::session::HEADER_STANDBY;

    use super::{Failure, kind_of};

    #[test]
    fn wasm_has_the_type_that_browsers_compile_while_it_comes() {
        assert_eq!(kind_of("tandem_bg.wasm"), "application/wasm");
        assert_eq!(kind_of("a/logo.svg"), "image/svg+xml");
        assert_eq!(kind_of("tandem.js"), "text/javascript; charset=utf-8");
        assert_eq!(kind_of("unknown"), "application/octet-stream");
    }

    #[test]
    fn a_standby_is_marked() {
        let reply = Failure::standby(7, "because".to_owned()).into_reply();
        assert_eq!(reply.status(), 503);
        assert_eq!(reply.headers()[HEADER_STANDBY], "7");
    }
}
