//! Shows, decodes and captures every upcall to ovs-vswitchd.

mod args;
mod capture;
mod live;
mod manual;
mod monitor;

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::process::ExitCode;

use ovs_tracers::cli;
use ovs_tracers::run::output::Files;
use ovs_tracers::run::recording::{self, Block};
use ovs_tracers::upcall::summary::Lost;

use args::Args;
use monitor::Monitor;

fn main() -> ExitCode {
    let mut args: Args = cli::parse(&manual::sections());
    args.check();
    cli::exit(match &args.recording.replay {
        Some(path) => replay(&args, path),
        None => live::run(&args),
    })
}

/// Shows a recording: the same blocks in the same order as they were when it was made.
fn replay(args: &Args, path: &Path) -> anyhow::Result<()> {
    let mut files = Files::default();
    let input: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin())
    } else {
        let opened = File::open(path).and_then(|file| files.protect(&file).map(|()| file));
        Box::new(opened.map_err(|error| {
            anyhow::anyhow!("failed to open {}: {}", path.display(), cli::cause(&error))
        })?)
    };
    let mut reader = recording::Reader::new(BufReader::new(input), env!("CARGO_BIN_NAME"))?;
    let mut monitor = Monitor::new(args, reader.start(), files)?;
    let error = loop {
        let flow = match reader.next_block() {
            Ok(Block::Record(record)) => monitor.record(record),
            Ok(Block::Port {
                datapath,
                port,
                name,
            }) => monitor.port(datapath, port, name),
            Ok(Block::Clock(offset)) => monitor.clock(offset),
            Ok(Block::Lost(counts)) => monitor.lost(Lost::new(&counts)),
            Ok(Block::End) => break None,
            Err(error) => break Some(error),
        };
        if flow.is_break() {
            break None;
        }
    };
    monitor.finish(0)?;
    error.map_or(Ok(()), |error| {
        Err(anyhow::anyhow!("{error}\nwhat comes before is shown above"))
    })
}
