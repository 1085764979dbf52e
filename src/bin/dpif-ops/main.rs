//! Shows every operation that ovs-vswitchd asks of the kernel datapath.

mod args;
mod live;
mod manual;
mod ops;

use std::io::BufReader;
use std::path::Path;
use std::process::ExitCode;

use ovs_tracers::cli;
use ovs_tracers::dpif_ops::event::RECORDS;
use ovs_tracers::run::output::Files;
use ovs_tracers::run::recording::Reader;

use args::Args;
use ops::Ops;

fn main() -> ExitCode {
    let args: Args = cli::parse(manual::SECTIONS);
    cli::exit(match &args.recording.replay {
        Some(path) => replay(&args, path),
        None => live::run(&args),
    })
}

/// Shows a recording.
fn replay(args: &Args, path: &Path) -> anyhow::Result<()> {
    let mut files = Files::default();
    let (input, _) = files.open(path)?;
    let mut reader = Reader::new(BufReader::new(input), &RECORDS)?;
    let (mut session, mut ops) = Ops::new(args, reader.start(), files)?;
    let read = session.replay(&mut reader, |session, step| ops.take(session, step));
    ops.finish(session)?;
    read.map_err(|error| anyhow::anyhow!("{error}\nwhat comes before is shown above"))
}
