//! What can be typed. Nothing here looks at the machine.

use std::time::Duration;

use clap::{Parser, ValueEnum};
use ovs_tracers::cli::seconds;

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
    after_help = "\
Examples:
  bridge-loop                                 a line for every run and wait, then the histograms
  bridge-loop -q --duration 60                the histograms of a minute, at the least cost
  bridge-loop --threshold 10ms --only run     the runs that took 10 ms or longer
  bridge-loop --threshold 10ms --stack        ... and what the daemon did when they had
  bridge-loop -q --interval 1                 loops per second and percentiles, every second
  bridge-loop -q --format json --duration 10  figures for a script"
)]
pub struct Args {
    /// The ovs-vswitchd to trace [default: the one that runs]
    #[arg(short, long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..=i32::MAX as i64))]
    pub pid: Option<u32>,

    /// Print no lines, only the figures at the end and at each interval
    #[arg(short, long, conflicts_with_all = ["threshold", "only", "stack"])]
    pub quiet: bool,

    /// Print lines of what took TIME or longer only: 10ms, 1.5s, 200us; everything is counted all the same
    #[arg(short, long, value_name = "TIME", value_parser = time)]
    pub threshold: Option<Duration>,

    /// Print lines of runs or of waits only
    #[arg(long, value_name = "KIND")]
    pub only: Option<Kind>,

    /// Show what the daemon did when a run passed the threshold
    #[arg(long, requires = "threshold")]
    pub stack: bool,

    /// Stop after N runs
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,

    /// Stop after this many seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub duration: Option<Duration>,

    /// Print the figures every so many seconds
    #[arg(short, long, value_name = "SECONDS", value_parser = seconds)]
    pub interval: Option<Duration>,

    /// Let the histograms have the buckets of bridge_loop.bt: 1 ms for runs, 30 ms for waits
    #[arg(long)]
    pub linear: bool,

    #[arg(long, value_name = "FORM", default_value = "text")]
    pub format: Format,

    /// Size of the ring buffer in memory pages, rounded up to a power of two [default: 4 MiB]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1 << 18))]
    pub buffer_page_count: Option<u32>,

    /// When the kernel refuses the BPF program, show libbpf's messages and the verifier's log
    #[arg(short, long)]
    pub verbose: bool,
}

/// What the main loop does: `enum interval_kind` of bpf/bridge_loop.h, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    Run,
    Wait,
}

impl Kind {
    pub const ALL: [Self; 2] = [Self::Run, Self::Wait];
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    /// An object a line
    Json,
}

fn time(text: &str) -> Result<Duration, String> {
    let form = || "not a time such as 10ms, 1.5s or 200us".to_string();
    let split = text
        .find(|c: char| c.is_ascii_alphabetic())
        .ok_or_else(form)?;
    let (number, unit) = text.split_at(split);
    let unit = match unit {
        "ns" => 1e-9,
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        _ => return Err(form()),
    };
    let number: f64 = number.parse().map_err(|_| form())?;
    match Duration::try_from_secs_f64(number * unit) {
        Ok(time) if !time.is_zero() => Ok(time),
        _ => Err("not a positive time".to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that a threshold takes each unit, and that what is no time is refused.
    #[test]
    fn times() {
        assert_eq!(time("10ms"), Ok(Duration::from_millis(10)));
        assert_eq!(time("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(time("200us"), Ok(Duration::from_micros(200)));
        assert_eq!(time("7ns"), Ok(Duration::from_nanos(7)));
        for text in ["", "10", "ms", "-1s", "0s", "1e400s", "1m", "nans", "infs"] {
            assert!(time(text).is_err(), "{text}");
        }
    }
}
