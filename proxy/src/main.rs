//! The proxy's process: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    tandem_proxy::process::main()
}
