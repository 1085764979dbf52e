//! The command line. Nothing here looks at the machine.

use std::path::PathBuf;

use clap::Parser;
use ovs_tracers::bpf::upcall_cost::types::capture_limit;
use ovs_tracers::cli::options::{self, Daemon, Format, Recording, Trace, ring_help};
use ovs_tracers::trace::netlink::UpcallMessages;

/// The most that a record of the kernel carries.
pub const MAX_PACKET_SIZE: u32 = capture_limit::MAX_PACKET.0;
pub const MAX_KEY_SIZE: u32 = capture_limit::MAX_KEY.0;

/// Bytes of the ring. Some hundredths of a second of full packets at full speed fit into it, while the machine is busy with
/// other things.
pub const DEFAULT_RING: usize = 16 << 20;

/// Time each upcall on its way from the kernel datapath to ovs-vswitchd and back
///
/// Attaches to the kernel where an upcall leaves the datapath and where the packet comes back, and to what lies between
/// them: the USDT probes dpif_recv:recv_upcall and dpif_netlink_operate__:op_flow_put and op_flow_execute of a running
/// ovs-vswitchd (built with --enable-usdt-probes, Open vSwitch 2.17 or later), or the kernel's own functions where any
/// ovs-vswitchd receives upcalls and sends its requests. Prints the events, and after Ctrl-C where the time went.
#[derive(Debug, Parser)]
#[command(
    name = "upcall-cost",
    version,
    max_term_width = 100,
    // The names that upcall_cost.py has, besides those of the other tools.
    mut_arg("record", |arg| {
        arg.help("Record what the kernel delivers to FILE, for -r")
            .short('w')
            .long("write-events")
            .visible_alias("record")
    }),
    mut_arg("replay", |arg| {
        arg.help(
            "Analyse a recording, or a file that upcall_cost.py wrote, instead of a running ovs-vswitchd; \"-\" is \
             standard input; needs no privilege",
        )
        .short('r')
        .long("read-events")
        .visible_alias("replay")
    }),
    mut_arg("count", |arg| arg.help("Stop after N upcalls that were received")),
    mut_arg("buffer_page_count", |arg| arg.help(ring_help(DEFAULT_RING))),
    after_help = "\
Examples:
  upcall-cost -q                             the report alone, at Ctrl-C
  upcall-cost -q --duration 60 --slowest 10  the report of a minute, with its ten slowest upcalls
  upcall-cost -q -w f --duration 60          record it as well, and analyse it anywhere:
  upcall-cost -q -r f --log                  ... with logarithmic histograms
  upcall-cost -q -r f --svg cost.svg         ... as a picture
  upcall-cost -q -r events.txt               the events that upcall_cost.py wrote
  upcall-cost -r f --handler-filter handler2 the events and the report of one handler
  upcall-cost -q -r f --format json | jq 'select(.record == \"stage\") | {name, p99_us}'"
)]
pub struct Args {
    #[command(flatten)]
    pub daemon: Daemon,

    #[command(flatten)]
    pub recording: Recording,

    /// Print no events, only the report
    #[arg(short, long)]
    pub quiet: bool,

    /// Stop after this many events of any kind [0: never]
    #[arg(short, long, value_name = "EVENTS")]
    pub stop: Option<u64>,

    /// Analyse only what these threads did, handler1,handler2 for example; with --read-events
    #[arg(long, value_name = "NAMES", value_delimiter = ',', requires = "replay")]
    pub handler_filter: Vec<String>,

    /// Print the histograms of times with N buckets
    #[arg(
        short = 'b',
        long,
        value_name = "N",
        default_value = "20",
        value_parser = clap::value_parser!(u32).range(1..=10_000)
    )]
    pub histogram_buckets: u32,

    /// Print histograms whose buckets are powers of two, instead of all having one width
    #[arg(long, conflicts_with = "histogram_buckets")]
    pub log: bool,

    /// Print the times that each histogram was made of
    #[arg(long)]
    pub sets: bool,

    /// Show the N slowest upcalls with their packet and flow key
    #[arg(long, value_name = "N", default_value = "5", value_parser = clap::value_parser!(u32).range(..=10_000))]
    pub slowest: u32,

    /// Form of the standard output
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: Format,

    /// Draw the distribution of each stage, and how it changes over time, to FILE as SVG
    #[arg(long, value_name = "FILE", value_parser = options::output_name)]
    pub svg: Option<PathBuf>,

    /// Capture at most N bytes of a flow key [default: all; 0: all]
    #[arg(short = 'f', long, value_name = "N", conflicts_with = "replay", value_parser = clap::value_parser!(u32).range(..=MAX_KEY_SIZE as i64))]
    pub flow_key_size: Option<u32>,

    /// Capture at most N bytes of a packet; the events of an upcall are matched by them [default: 256; 0: all]
    #[arg(short = 'P', long, value_name = "N", conflicts_with = "replay", value_parser = clap::value_parser!(u32).range(..=MAX_PACKET_SIZE as i64))]
    pub packet_size: Option<u32>,

    /// Attach the kernel's side in this way only, so that tests can choose another than the best
    #[arg(long, value_name = "WAY", hide = true)]
    pub kernel_side: Option<String>,

    /// Take these netlink messages for upcalls, so that tests can send some
    #[arg(long, hide = true)]
    pub netlink: Option<UpcallMessages>,

    #[command(flatten)]
    pub trace: Trace,
}

impl Args {
    /// How many bytes of a packet are captured at most.
    pub fn packet_snaplen(&self) -> u32 {
        match self.packet_size {
            None => 256,
            Some(0) => MAX_PACKET_SIZE,
            Some(size) => size,
        }
    }

    /// How many bytes of a flow key are captured at most.
    pub fn key_snaplen(&self) -> u32 {
        match self.flow_key_size {
            None | Some(0) => MAX_KEY_SIZE,
            Some(size) => size,
        }
    }
}
