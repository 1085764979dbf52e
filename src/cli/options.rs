//! The options that several tools have, to be flattened into each tool's arguments.
//!
//! A tool whose events have a name of their own says so with `mut_arg`, as in
//! `#[command(mut_arg("count", |arg| arg.help("Stop after N runs")))]`.

use std::fs;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::cli::duration;
use crate::run::output::{self, Files, Output};
use crate::run::recording::{Reader, Records};
use crate::trace::probes::Source;
use crate::trace::ring::ring_size;

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

/// Where events are taken from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum SourceArg {
    /// The daemon's probes if it has them, else the kernel
    #[default]
    Auto,
    /// The USDT probes of ovs-vswitchd
    Usdt,
    /// The kernel's own functions, for any ovs-vswitchd
    Kernel,
}

impl SourceArg {
    /// The source that is asked for, if any is.
    pub fn asked(self) -> Option<Source> {
        match self {
            Self::Auto => None,
            Self::Usdt => Some(Source::Usdt),
            Self::Kernel => Some(Source::Kernel),
        }
    }
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

    /// Take the events from this source; the manual page compares them
    #[arg(long, value_name = "SOURCE", default_value = "auto")]
    pub source: SourceArg,

    /// Size of the ring buffer in memory pages, rounded up to a power of two
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1 << 18))]
    pub buffer_page_count: Option<u32>,

    /// Memory, in MiB, for events that wait to be shown [default: 512, or less on a small machine]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub queue_size: Option<u32>,

    /// Show libbpf's messages and the verifier's log if the kernel refuses a BPF program
    #[arg(short, long)]
    pub verbose: bool,
}

impl Trace {
    /// The bytes of the ring, of which a tool has so many by default.
    pub fn ring_bytes(&self, default: usize) -> usize {
        self.buffer_page_count.map_or(default, ring_size)
    }

    /// The bytes that events may take which wait to be shown.
    pub fn queue_bytes(&self) -> usize {
        let asked = self.queue_size.map(|mib| (mib as usize) << 20);
        asked.unwrap_or_else(default_queue)
    }
}

/// The most memory that waiting events take unless more is asked for.
const DEFAULT_QUEUE: usize = 512 << 20;

/// Of a small machine a part: the tool is a guest there, and must not be why memory becomes short.
fn default_queue() -> usize {
    let system = rustix::system::sysinfo();
    let machine = (system.totalram as usize).saturating_mul(system.mem_unit as usize);
    DEFAULT_QUEUE.min(machine / 16).min(cgroup_memory() / 4)
}

/// The memory that this process may have by its cgroup and those above it, a container's for example: `memory.max` of
/// Linux' `Documentation/admin-guide/cgroup-v2.rst`.
fn cgroup_memory() -> usize {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = own.lines().find_map(|line| line.strip_prefix("0::/"));
    let limits = Path::new(own.unwrap_or_default()).ancestors().map(|group| {
        let file = Path::new("/sys/fs/cgroup").join(group).join("memory.max");
        // Without a limit it says "max".
        fs::read_to_string(file).ok()?.trim().parse().ok()
    });
    limits.flatten().min().unwrap_or(usize::MAX)
}

/// The thread whose events are shown.
#[derive(Clone, Debug, Default, Args)]
pub struct Thread {
    /// Show only events of this thread, a name (handler1) or a thread id
    #[arg(long, value_name = "THREAD", value_parser = thread_name)]
    pub thread: Option<String>,
}

/// How many bytes of a thread's name the kernel keeps.
const MAX_COMM: usize = 15;

impl Thread {
    /// Whether events of the thread with this id and name are shown.
    pub fn has(&self, tid: u32, comm: &[u8]) -> bool {
        let name = self.name();
        let has_name = || name.is_none_or(|name| comm == name);
        self.id().map_or_else(has_name, |id| id == tid)
    }

    /// The id, if the thread was given by its id: `targ_tid` of `bpf/filter.bpf.h`.
    pub fn id(&self) -> Option<u32> {
        self.thread.as_ref()?.parse().ok()
    }

    /// The name as the kernel keeps it, if the thread was given by its name.
    fn name(&self) -> Option<&[u8]> {
        let thread = self.thread.as_ref().filter(|_| self.id().is_none())?;
        Some(&thread.as_bytes()[..thread.len().min(MAX_COMM)])
    }

    /// The name for the BPF programs: `targ_by_comm` and `targ_comm` of `bpf/filter.bpf.h`.
    pub fn comm(&self) -> (u8, [i8; 16]) {
        let mut comm = [0; 16];
        for (to, from) in comm.iter_mut().zip(self.name().unwrap_or_default()) {
            *to = from.cast_signed();
        }
        (self.name().is_some().into(), comm)
    }
}

fn thread_name(text: &str) -> Result<String, String> {
    match text {
        "" => Err("no thread has an empty name".to_string()),
        // In the BPF programs, 0 says that every thread matches.
        "0" => Err("no thread has the id 0".to_string()),
        _ => Ok(text.to_string()),
    }
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
    #[arg(long, value_name = "FILE", conflicts_with_all = ["pid", "record", "duration", "source", "buffer_page_count", "queue_size"])]
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

/// Reads the name of an output file, which cannot be standard output because that is in use.
pub fn output_name(text: &str) -> Result<PathBuf, String> {
    match text {
        "-" => Err("standard output is taken already; name a file".to_string()),
        _ => Ok(text.into()),
    }
}

/// The options of nearly every tool that traces one process and shows its events.
#[derive(Clone, Debug, Default, Args)]
pub struct Common {
    #[command(flatten)]
    pub daemon: Daemon,

    #[command(flatten)]
    pub summary: Summary,

    /// Print a table, or JSON Lines for programs
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: Format,

    #[command(flatten)]
    pub trace: Trace,

    #[command(flatten)]
    pub recording: Recording,
}

impl Recording {
    /// Opens the recording to be shown.
    ///
    /// # Errors
    /// If it cannot be opened, or is no recording with such records.
    pub fn open(
        &self,
        files: &mut Files,
        records: &Records,
    ) -> anyhow::Result<Reader<BufReader<Box<dyn Read>>>> {
        let path = self.replay.as_deref().unwrap_or(Path::new("-"));
        let (input, _) = files.open(path)?;
        Ok(Reader::new(BufReader::new(input), records)?)
    }

    /// The file to record to, if one is asked for.
    ///
    /// # Errors
    /// Those of [`Files::create`].
    pub fn create(&self, files: &mut Files) -> Result<Option<Output>, output::Error> {
        let create = |path: &PathBuf| files.create(path, self.force);
        self.record.as_ref().map(create).transpose()
    }
}
