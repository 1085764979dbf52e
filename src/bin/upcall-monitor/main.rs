//! Shows, decodes and captures every upcall to ovs-vswitchd.

mod args;
mod capture;
mod filters;
mod follow;
mod live;
mod manual;
mod monitor;
mod outputs;
mod top;

use std::process::ExitCode;

use ovs_tracers::cli;
use ovs_tracers::run::output::Files;
use ovs_tracers::upcall::record::RECORDS;

use args::Args;
use monitor::Monitor;

fn main() -> ExitCode {
    let mut args: Args = cli::parse(&manual::sections());
    args.check();
    cli::exit(match &args.recording.replay {
        Some(_) => replay(&args),
        None => live::run(&args),
    })
}

/// Shows a recording: the same blocks in the same order as they were when it was made.
fn replay(args: &Args) -> anyhow::Result<()> {
    let mut files = Files::default();
    let mut reader = args.recording.open(&mut files, &RECORDS)?;
    let (mut session, mut monitor) = Monitor::new(args, reader.start(), files)?;
    let read = session.replay(&mut reader, |session, step| monitor.take(session, step));
    monitor.finish(session)?;
    read.map_err(|error| anyhow::anyhow!("{error}\nwhat comes before is shown above"))
}
