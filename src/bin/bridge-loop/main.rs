//! Times the main loop of ovs-vswitchd and its waits.

mod args;
mod live;
mod manual;
mod report;

use std::process::ExitCode;

use ovs_tracers::cli;

fn main() -> ExitCode {
    let args = cli::parse(&manual::sections());
    cli::exit(live::run(&args))
}
