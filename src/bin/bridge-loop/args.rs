//! The command line. Nothing here looks at the machine.

use std::time::Duration;

use clap::{Parser, ValueEnum};
use ovs_tracers::bridge_loop::{Group, Kind};
use ovs_tracers::cli::duration;
use ovs_tracers::cli::options::{Daemon, Format, Summary, Trace, ring_help};

/// Bytes of the ring: several seconds of a loop that does nothing.
pub const DEFAULT_RING: usize = 4 << 20;

/// Time the main loop of ovs-vswitchd and its waits
///
/// Attaches to the USDT probes main:run_start and main:poll_block of a running ovs-vswitchd (built with
/// --enable-usdt-probes, Open vSwitch 2.17 or later), or to poll() in the kernel if it has none; prints a line for each
/// run of the main loop and each wait, and after Ctrl-C their histograms.
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
  bridge-loop --threads all --threshold 1s    unreasonably long poll intervals of any thread, and what held them up
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

    /// Time these threads: main, handler, revalidator or all; others than main take the kernel as the source
    #[arg(
        long,
        value_name = "THREADS",
        value_delimiter = ',',
        default_value = "main",
        hide_possible_values = true
    )]
    pub threads: Vec<Threads>,

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

    /// See poll() in this way only: fentry, kprobes, or "tracepoints of system calls"
    #[arg(long, value_name = "WAY", hide = true)]
    pub kernel_side: Option<String>,
}

/// What threads of ovs-vswitchd are timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Threads {
    /// The main loop
    Main,
    /// The threads that receive upcalls
    Handler,
    /// The threads that look after the datapath's flows
    Revalidator,
    /// Every thread that calls poll()
    All,
}

impl Args {
    /// The groups of threads that are asked for.
    pub fn groups(&self) -> Vec<Group> {
        let wanted = |group: &Group| {
            self.threads.iter().any(|threads| match threads {
                Threads::Main => *group == Group::Main,
                Threads::Handler => *group == Group::Handler,
                Threads::Revalidator => *group == Group::Revalidator,
                Threads::All => true,
            })
        };
        Group::ALL.into_iter().filter(wanted).collect()
    }
}
