//! What nodes and proxies must agree on of HTTP: which paths are an administrator's, and how a
//! request shows that it came through a proxy.

/// The name under which a proxy adds itself to `Via` (RFC 9110, 7.6.3). Scripts of pages cannot set
/// that header (Fetch standard, forbidden request-headers).
pub const PROXY_NAME: &str = "tandem-proxy";

/// What all paths of the REST begin with.
pub const API: &str = "/data/api/v1/";

/// Folders below [`API`] that change the pair, its config or its log, or show what settings may
/// hold: addresses and keys of other systems. A node asks for its admin token, whatever the method;
/// a proxy lets none of them pass.
const ADMIN: [&str; 5] =
    ["redundancy/gwaction", "redundancy/adopt", "redundancy/logs/levels", "resources", "archive"];

/// Whether what stands at `path`, below [`API`], is an administrator's.
pub fn is_admin(path: &str) -> bool {
    let below =
        |folder| path.strip_prefix(folder).is_some_and(|p| p.is_empty() || p.starts_with('/'));
    ADMIN.into_iter().any(below)
}

#[cfg(test)]
mod tests {
    use super::is_admin;

    #[test]
    fn what_changes_the_pair_is_an_administrators() {
        for (path, expected) in [
            ("redundancy/gwaction/failover", true),
            ("redundancy/adopt", true),
            ("redundancy/logs/levels", true),
            ("redundancy/logs", false),
            ("resources", true),
            ("resources/tags", true),
            ("resourceful", false),
            ("archive/config-1.cbor", true),
            ("tags/archive", false),
            ("redundancy", false),
        ] {
            assert_eq!(is_admin(path), expected, "{path}");
        }
    }
}
