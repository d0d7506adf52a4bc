//! What is refused, and that the text says where.

use std::collections::BTreeMap;

use tandem_protocol::node::Role;

use super::{Options, Sources};
use crate::error::{EXIT_USAGE, Error};

const PAIRED: &str = r#"
role = "backup"
node_id = "b"
pair_id = "plant"
pair_secret = "not-a-secret"
peer = "127.0.0.1:8088"
"#;

fn read(
    file: &str,
    environment: &[(&str, &str)],
    flags: &[(&str, &str)],
) -> Result<Options, Error> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("node.toml");
    std::fs::write(&path, file).expect("a file");
    Options::read(&Sources {
        file: Some(path),
        environment: environment
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect::<BTreeMap<_, _>>(),
        flags: flags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
    })
}

#[track_caller]
fn refused(file: &str, environment: &[(&str, &str)], says: &[&str]) {
    let error = read(file, environment, &[]).expect_err("it is wrong");
    assert_eq!(error.exit_code(), EXIT_USAGE);
    let text = error.to_string();
    for part in says {
        assert!(text.contains(part), "{text:?} does not say {part:?}");
    }
}

#[test]
fn what_is_wrong_is_named_with_file_line_and_key() {
    refused("node_id = \"a\"\ncolour = 3\n", &[], &["node.toml:2", "colour"]);
    refused("node_id = \"a\"\n\nhttp = \"x\"\n", &[], &["node.toml:3", "http"]);
    refused("node_id = \"a b\"\n", &[], &["node.toml:1", "node_id", "a b"]);
    refused("node_id = \"a\"\nhttp = 70000\n", &[], &["node.toml:2", "http"]);
    refused("node_id = \"a\"\nrole = \"boss\"\n", &[], &["node.toml:2", "role", "boss"]);
    refused("node_id = \"a\"\n[shared]\nping = 1\n", &[], &["node.toml:3", "ping"]);
    refused("node_id = \"a\"\nx x\n", &[], &["node.toml:2"]);
    refused("", &[], &["node.toml", "node_id"]);
    refused("node_id = \"a\"\nrole = \"Master\"\n", &[], &["pair_id"]);
    refused(&PAIRED.replace("not-a-secret", "short"), &[], &["pair_secret"]);
    refused(&PAIRED.replace("127.0.0.1:8088", "nowhere"), &[], &["peer", "nowhere"]);
    refused("node_id = \"a\"\nmax_disk_mb = 7\n", &[], &["max_disk_mb", "7", "8 to 1024"]);
    refused("node_id = \"a\"\nmax_disk_mb = 2000\n", &[], &["max_disk_mb", "8 to 1024"]);
    refused("node_id = \"a\"\npublic_address = \"x\"\n", &[], &["public_address"]);
}

#[test]
fn shared_settings_that_would_fence_a_node_are_refused() {
    let short = format!("{PAIRED}\n[shared]\nping_max_missed = 3\n");
    refused(&short, &[], &["node.toml", "ping_max_missed"]);
}

#[test]
fn the_environment_is_checked_too() {
    refused(PAIRED, &[("TANDEM_HTTP", "many")], &["TANDEM_HTTP", "http"]);
    refused(PAIRED, &[("TANDEM_SHARED_PING_RATE_MS", "x")], &["TANDEM_SHARED_PING_RATE_MS"]);
    let error = read(PAIRED, &[], &[("colour", "red")]).expect_err("it is unknown");
    assert!(error.to_string().contains("colour"), "{error}");
}

#[test]
fn the_later_source_wins() {
    let environment =
        [("TANDEM_HTTP", "9000"), ("TANDEM_NODE_ID", "7"), ("TANDEM_SHARED_JOIN_WAIT_MS", "5")];
    let options = read(PAIRED, &environment, &[("http", "9001")]).expect("right");
    assert_eq!(options.role, Role::Backup);
    assert_eq!(options.http, 9001);
    assert_eq!(options.node_id.as_str(), "7");
    assert_eq!(options.shared.join_wait_ms, 5);
    assert_eq!(options.shared.ping_rate_ms, 100);
}

#[test]
fn a_missing_file_is_named() {
    let sources = Sources { file: Some("no-such.toml".into()), ..Sources::default() };
    let error = Options::read(&sources).expect_err("there is none");
    assert!(error.to_string().contains("no-such.toml"));
}

#[test]
fn the_example_shows_every_option_with_its_default() {
    let text = include_str!("../../../examples/node.toml");
    let shown = read(text, &[], &[]).expect("the example is right");
    let bare = read("node_id = \"a\"\n", &[], &[]).expect("the least");
    assert_eq!(format!("{shown:?}"), format!("{bare:?}"));
    for key in super::layer::KEYS.iter().chain(super::layer::SHARED_KEYS) {
        let named = [format!("\n{key} = "), format!("\n# {key} = "), format!("\n[{key}]")];
        assert!(named.iter().any(|line| text.contains(line)), "{key} is not shown");
    }
}
