//! `/sdk/*`: the browser SDK from its folder.
//!
//! Files with their hash in the name never change and are kept for ever; the stable entry
//! `tandem.js` is asked for anew each time. A file that was compressed at build time
//! (`name.br` beside it) is sent so where the browser takes it.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, HeaderValue, VARY};
use http::{HeaderMap, StatusCode};
use sha2::{Digest as _, Sha256};

use super::State;
use super::network::takes_coding;
use super::reply::{self, Failure, File, Keep, Reply};

/// A file of the SDK: far above what the bundle may weigh.
const FILE_MAX_BYTES: u64 = 16 * 1024 * 1024;

pub(super) async fn answer(
    state: &State,
    name: &str,
    headers: &HeaderMap,
) -> Result<Reply, Failure> {
    let missing = || Failure::not_found(format!("the browser SDK has no file {name}"));
    let Some(dir) = &state.options.web_dir else {
        let reason = "this node has no web_dir: the browser SDK is not here";
        return Err(Failure::not_found(reason));
    };
    if !is_plain(name) || !is_served(name) {
        return Err(missing());
    }
    let path = dir.join(name);
    let brotli = takes_coding(headers, "br");
    let packed = match brotli {
        true => read(&with_suffix(&path, ".br")).await?,
        false => None,
    };
    let (body, encoding) = match packed {
        Some(body) => (body, Some(HeaderValue::from_static("br"))),
        None => (read(&path).await?.ok_or_else(missing)?, None),
    };
    let keep = if is_hashed(name) { Keep::ForEver } else { Keep::Ask };
    let kind = reply::kind_of(name);
    let mut reply = reply::file(headers, File { tag: tag(&body), body, kind, keep });
    reply.headers_mut().insert(VARY, HeaderValue::from_static("accept-encoding"));
    if let Some(encoding) = encoding {
        reply.headers_mut().insert(CONTENT_ENCODING, encoding);
    }
    Ok(reply)
}

/// A file's bytes; `None` where there is no such file.
async fn read(path: &Path) -> Result<Option<Bytes>, Failure> {
    match tokio::fs::metadata(path).await {
        Ok(meta) if meta.is_file() && meta.len() <= FILE_MAX_BYTES => {}
        Ok(_) | Err(_) => return Ok(None),
    }
    match tokio::fs::read(path).await {
        Ok(bytes) => Ok(Some(Bytes::from(bytes))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "read browser SDK");
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            Err(Failure::failed(status, "unreadable", "the file cannot be read"))
        }
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// A relative path whose parts are plain names: it cannot leave the folder.
fn is_plain(name: &str) -> bool {
    let plain = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    name.len() <= 256 && name.split('/').all(plain)
}

/// Whether a file is part of a bundle: it lies at the top of the folder, or is a snippet. What else
/// lies below belongs to whoever built it.
fn is_served(name: &str) -> bool {
    !name.contains('/') || name.starts_with("snippets/")
}

/// Whether a name such as `tandem_bg-3f9a1c2b.wasm` holds the hash of its content: eight or more
/// hex digits after the last `-` of its stem.
fn is_hashed(name: &str) -> bool {
    let file = name.rsplit('/').next().unwrap_or_default();
    let stem = file.split('.').next().unwrap_or_default();
    stem.rsplit_once('-')
        .is_some_and(|(_, hash)| hash.len() >= 8 && hash.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn tag(body: &[u8]) -> String {
    Sha256::digest(body).iter().take(12).map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::{is_hashed, is_plain, is_served};

    #[test]
    fn a_name_cannot_leave_the_folder() {
        for (name, plain) in [
            ("tandem.js", true),
            ("snippets/a-1/inline0.js", true),
            ("../secret", false),
            ("a/../../b", false),
            ("/etc/passwd", false),
            (".hidden", false),
            ("a//b", false),
            ("", false),
            ("a\\b", false),
        ] {
            assert_eq!(is_plain(name), plain, "{name}");
        }
    }

    #[test]
    fn only_the_bundle_is_served() {
        for (name, served) in [
            ("tandem.js", true),
            ("snippets/a-1/inline0.js", true),
            ("deps/libserde.rlib", false),
            ("snippets-of-mine/a.js", false),
        ] {
            assert_eq!(is_served(name), served, "{name}");
        }
    }

    #[test]
    fn only_names_with_a_hash_are_kept_for_ever() {
        for (name, hashed) in [
            ("tandem.js", false),
            ("tandem_bg-3f9a1c2b.wasm", true),
            ("snippets/x-0011223344556677.js", true),
            ("tandem-elements.js", false),
            ("a-1234.js", false),
        ] {
            assert_eq!(is_hashed(name), hashed, "{name}");
        }
    }
}
