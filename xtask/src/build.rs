//! `cargo xtask build`: the daemons and the browser bundle.

use std::time::Instant;

use tandem_tests::harness::root;

use crate::outcome::Outcome;
use crate::{setup, steps, web};

/// Both daemons and the bundle.
pub(crate) fn all() -> Outcome {
    daemons()?;
    bundle()?;
    steps::say("target/release/tandem-node, target/release/tandem-proxy, target/web");
    Ok(())
}

/// Both daemons, into target/release.
pub(crate) fn daemons() -> Outcome {
    let build = setup::cargo(&["build", "--release", "-p", "tandem-node", "-p", "tandem-proxy"]);
    steps::run("build the daemons", build, steps::quiet)
}

/// The browser bundle, into target/web.
pub(crate) fn bundle() -> Outcome {
    setup::wasm_target()?;
    let start = Instant::now();
    let bar = steps::spinner("build the browser bundle");
    let bundle = web::build(&web::Options::of(&root()))?;
    bar.finish_and_clear();
    steps::done("build the browser bundle", start.elapsed());
    steps::say(&format!("{}: {}", bundle.dir.display(), bundle.sizes()));
    Ok(())
}
