//! What can be typed. Nothing here looks at the machine.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use ovs_tracers::bpf::upcall_cost::types::capture_limit;
use ovs_tracers::cli::seconds;

/// The most that a record of the kernel carries.
pub const MAX_PACKET_SIZE: u32 = capture_limit::MAX_PACKET.0;
pub const MAX_KEY_SIZE: u32 = capture_limit::MAX_KEY.0;

/// What is written to standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Lines of events, tables and histograms
    Text,
    /// JSON Lines: an object for each event, and for each figure of the report
    Json,
}

/// Time each upcall on its way from the kernel datapath to ovs-vswitchd and back
///
/// Attaches to the kernel where an upcall leaves the datapath and where the packet comes back, and to the USDT probes
/// dpif_recv:recv_upcall and dpif_netlink_operate__:op_flow_put and op_flow_execute of a running ovs-vswitchd (built
/// with --enable-usdt-probes, Open vSwitch 2.17 or later); prints the events, and after Ctrl-C where the time went.
#[derive(Debug, Parser)]
#[command(
    name = "upcall-cost",
    version,
    max_term_width = 100,
    after_help = "\
Examples:
  upcall-cost -q                             the report alone, at Ctrl-C
  upcall-cost -q --duration 60 --slowest 10  after a minute, with the ten slowest upcalls
  upcall-cost -q -w f --duration 60          record it as well, to be analysed anywhere by
  upcall-cost -q -r f --log                  ... this, with logarithmic histograms, or
  upcall-cost -q -r f --svg cost.svg         ... this, as a picture
  upcall-cost -q -r events.txt               the events that upcall_cost.py wrote
  upcall-cost -r f --handler-filter handler2 of one handler
  upcall-cost -q -r f --format json | jq 'select(.record == \"stage\") | {name, p99_us}'"
)]
pub struct Args {
    /// The ovs-vswitchd to trace [default: the one that runs]
    #[arg(short, long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..=i32::MAX as i64))]
    pub pid: Option<u32>,

    /// Record everything that the kernel delivers to FILE, for -r
    #[arg(short, long, value_name = "FILE", value_parser = recording_name)]
    pub write_events: Option<PathBuf>,

    /// Analyse a recording, or a file that upcall_cost.py wrote, instead of a running ovs-vswitchd; "-" is standard
    /// input; needs no privilege
    #[arg(
        short,
        long,
        value_name = "FILE",
        conflicts_with_all = ["pid", "write_events", "packet_size", "flow_key_size", "duration", "buffer_page_count"]
    )]
    pub read_events: Option<PathBuf>,

    /// Print no events, only the report
    #[arg(short, long)]
    pub quiet: bool,

    /// Stop after N upcalls that were received
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,

    /// Stop after this many events of any kind [0: never]
    #[arg(short, long, value_name = "EVENTS")]
    pub stop: Option<u64>,

    /// Stop after this many seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub duration: Option<Duration>,

    /// With --read-events, analyse only what these threads did, for example handler1,handler2
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        requires = "read_events"
    )]
    pub handler_filter: Vec<String>,

    /// Let the histograms of times have N buckets
    #[arg(
        short = 'b',
        long,
        value_name = "N",
        default_value = "20",
        value_parser = clap::value_parser!(u32).range(1..=10_000)
    )]
    pub histogram_buckets: u32,

    /// Let the buckets be powers of two rather than all of one width
    #[arg(long, conflicts_with = "histogram_buckets")]
    pub log: bool,

    /// Show the times that each histogram is made of
    #[arg(long)]
    pub sets: bool,

    /// Show the N slowest upcalls with their packet and flow key
    #[arg(long, value_name = "N", default_value = "5", value_parser = clap::value_parser!(u32).range(..=10_000))]
    pub slowest: u32,

    /// Write the events and the report in this form
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: Format,

    /// Draw the distribution of each stage, and its course over time, to FILE
    #[arg(long, value_name = "FILE", value_parser = picture_name)]
    pub svg: Option<PathBuf>,

    /// Overwrite the file of --write-events or --svg if it exists
    #[arg(long)]
    pub force: bool,

    /// Capture at most N bytes of a flow key [default: all; 0: all]
    #[arg(short = 'f', long, value_name = "N", value_parser = clap::value_parser!(u32).range(..=MAX_KEY_SIZE as i64))]
    pub flow_key_size: Option<u32>,

    /// Capture at most N bytes of a packet, by which the events of an upcall find each other [default: 256; 0: all]
    #[arg(short = 'P', long, value_name = "N", value_parser = clap::value_parser!(u32).range(..=MAX_PACKET_SIZE as i64))]
    pub packet_size: Option<u32>,

    /// Size of the ring buffer in memory pages, rounded up to a power of two [default: 16 MiB]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1 << 18))]
    pub buffer_page_count: Option<u32>,

    /// Attach the kernel's side in no other way than this: for tests
    #[arg(long, value_name = "WAY", hide = true)]
    pub kernel_side: Option<String>,

    /// When the kernel refuses the BPF program, show libbpf's messages and the verifier's log
    #[arg(short, long)]
    pub verbose: bool,
}

fn recording_name(text: &str) -> Result<PathBuf, String> {
    match text {
        "-" => Err("standard output is for the report; name a file".to_string()),
        _ => Ok(text.into()),
    }
}

fn picture_name(text: &str) -> Result<PathBuf, String> {
    recording_name(text)
}

impl Args {
    /// Bytes of a packet to capture at most.
    pub fn packet_snaplen(&self) -> u32 {
        match self.packet_size {
            None => 256,
            Some(0) => MAX_PACKET_SIZE,
            Some(size) => size,
        }
    }

    /// Bytes of a flow key to capture at most.
    pub fn key_snaplen(&self) -> u32 {
        match self.flow_key_size {
            None | Some(0) => MAX_KEY_SIZE,
            Some(size) => size,
        }
    }
}
