//! The options that several tools have, to be flattened into each tool's arguments.
//!
//! A tool whose events have a name of their own says so with `mut_arg`, as in
//! `#[command(mut_arg("count", |arg| arg.help("Stop after N runs")))]`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::cli::duration;

/// The forms of the standard output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Lines and tables for people
    #[default]
    Text,
    /// JSON Lines for programs: an object on each line
    Json,
}

/// The process to trace, for a tool that traces one.
#[derive(Clone, Debug, Default, Args)]
pub struct Daemon {
    /// Trace the ovs-vswitchd with this process id [default: the only one that is running]
    #[arg(short, long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..=i32::MAX as i64))]
    pub pid: Option<u32>,
}

/// When a trace ends, and how it is made.
#[derive(Clone, Debug, Default, Args)]
pub struct Trace {
    /// Stop after N events
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,

    /// Stop after TIME: 60 (seconds), 1.5s, 200ms, 5m, 2h
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub duration: Option<Duration>,

    /// Size of the ring buffer in memory pages, rounded up to a power of two
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1 << 18))]
    pub buffer_page_count: Option<u32>,

    /// Show libbpf's messages and the verifier's log if the kernel refuses a BPF program
    #[arg(short, long)]
    pub verbose: bool,
}

/// What a tool shows that has a summary.
#[derive(Clone, Debug, Default, Args)]
pub struct Summary {
    /// Show no events, only the summary: at the end, and with --interval
    #[arg(short, long)]
    pub quiet: bool,

    /// Show a summary of every TIME as well: 1 (second), 200ms, 5m
    #[arg(short, long, value_name = "TIME", value_parser = duration::parse)]
    pub interval: Option<Duration>,
}

/// Recording what the kernel delivers, and showing it again.
#[derive(Clone, Debug, Default, Args)]
pub struct Recording {
    /// Record what the kernel delivers, which is what the filters let through, to FILE for --replay
    #[arg(long, value_name = "FILE", value_parser = output_name)]
    pub record: Option<PathBuf>,

    /// Show the recording FILE instead of a running ovs-vswitchd; "-" is standard input; needs no privilege
    #[arg(long, value_name = "FILE", conflicts_with_all = ["pid", "record", "duration", "buffer_page_count"])]
    pub replay: Option<PathBuf>,

    /// Overwrite output files that exist
    #[arg(long)]
    pub force: bool,
}

/// The help of `--buffer-page-count` of a tool whose ring has `default` bytes.
pub fn ring_help(default: usize) -> String {
    format!(
        "Size of the ring buffer in memory pages, rounded up to a power of two [default: {} MiB]",
        default >> 20
    )
}

/// Reads the name of an output file beside the standard output.
pub fn output_name(text: &str) -> Result<PathBuf, String> {
    match text {
        "-" => Err("standard output is taken already; name a file".to_string()),
        _ => Ok(text.into()),
    }
}
