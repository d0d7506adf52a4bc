//! Tandem's tests: what the rings of tests and `cargo xtask demo` share.
//!
//! `harness` starts and disturbs real processes, `relay` and `border` stand between them, `puppet`
//! is a peer that says what a test wants,
//! `browser` leads a headless Chromium, `sim` runs the same rules in virtual time. The tests
//! themselves are in `tests/tests`: `it_*` (processes), `browser_*`, `sim_*`, `tidy`.

pub mod border;
pub mod browser;
pub mod harness;
pub mod puppet;
pub mod relay;
pub mod sim;
