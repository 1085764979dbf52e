//! Times each upcall on its way from the kernel datapath to ovs-vswitchd and back.

mod args;
mod live;
mod manual;
mod replay;
mod session;

use std::process::ExitCode;

use ovs_tracers::cli;

use args::Args;

fn main() -> ExitCode {
    let args: Args = cli::parse(&manual::sections());
    cli::exit(match &args.recording.replay {
        Some(path) => replay::run(&args, path),
        None => live::run(&args),
    })
}
