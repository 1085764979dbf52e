//! The command line. Nothing here looks at the machine.

use std::time::Duration;

use clap::Parser;
use ovs_tracers::bridge_loop::Kind;
use ovs_tracers::cli::duration;
use ovs_tracers::cli::options::{Daemon, Format, Summary, Trace, ring_help};

/// Bytes of the ring: several seconds of a loop that does nothing.
pub const DEFAULT_RING: usize = 4 << 20;

/// Time the main loop of ovs-vswitchd and its waits
///
/// Attaches to the USDT probes main:run_start and main:poll_block of a running ovs-vswitchd (built with
/// --enable-usdt-probes, Open vSwitch 2.17 or later), prints a line for each run of the main loop and each wait, and
/// after Ctrl-C their histograms.
#[derive(Debug, Parser)]
#[command(
    name = "bridge-loop",
    version,
    max_term_width = 100,
    mut_arg("count", |arg| arg.help("Stop after N runs")),
    mut_arg("quiet", |arg| {
        arg.help("Print no lines, only the figures: at the end, and with --interval")
            .conflicts_with_all(["threshold", "only", "stack"])
    }),
    mut_arg("interval", |arg| arg.help("Print the figures of every TIME as well: 1 (second), 200ms, 5m")),
    mut_arg("buffer_page_count", |arg| arg.help(ring_help(DEFAULT_RING))),
    after_help = "\
Examples:
  bridge-loop                                 a line for every run and wait, then the histograms
  bridge-loop -q --duration 60                the histograms of a minute, with the least overhead
  bridge-loop --threshold 10ms --only run     the runs that took 10 ms or longer
  bridge-loop --threshold 10ms --stack        ... and what the daemon was doing then
  bridge-loop -q --interval 1                 loops per second and percentiles, every second
  bridge-loop -q --format json --duration 10  figures for a script"
)]
pub struct Args {
    #[command(flatten)]
    pub daemon: Daemon,

    #[command(flatten)]
    pub summary: Summary,

    /// Print only lines of runs and waits that took TIME or longer: 10ms, 1.5s, 200us; all of them are counted
    #[arg(short, long, value_name = "TIME", value_parser = duration::parse)]
    pub threshold: Option<Duration>,

    /// Print only lines of runs, or only lines of waits
    #[arg(long, value_name = "KIND")]
    pub only: Option<Kind>,

    /// Show what the daemon was doing when a run passed the threshold
    #[arg(long, requires = "threshold")]
    pub stack: bool,

    /// Print the histograms of bridge_loop.bt: buckets of 1 ms for runs, of 30 ms for waits
    #[arg(long)]
    pub linear: bool,

    /// Form of the standard output
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: Format,

    #[command(flatten)]
    pub trace: Trace,
}
