//! What can be typed. Nothing here looks at the machine.

use clap::{Parser, ValueEnum};
use ovs_tracers::bpf::dpif_ops::types::dpif_ops_limit;
use ovs_tracers::cli::options::{Daemon, Format, Recording, Summary, Trace, ring_help};
use ovs_tracers::dpif_ops::text::Decode;
use ovs_tracers::ovs::flow_request;

/// Bytes: some hundredths of a second of full packets at full speed, for a machine that is busy with other things.
pub const DEFAULT_RING: usize = 16 << 20;

/// The most that a record carries.
pub const MAX_REQUEST: u32 = dpif_ops_limit::MAX_REQUEST.0;

/// Show every operation that ovs-vswitchd asks of the kernel datapath: puts, deletes and gets of flows, and executes
///
/// Attaches to the USDT probes dpif_netlink_operate__:op_flow_* of a running ovs-vswitchd (built with
/// --enable-usdt-probes, Open vSwitch 2.17 or later), and prints a row for each request that the daemon is about to send,
/// with its flow and its actions.
#[derive(Debug, Parser)]
#[command(
    name = "dpif-ops",
    version,
    max_term_width = 100,
    mut_arg("count", |arg| arg.help("Stop after N operations")),
    mut_arg("buffer_page_count", |arg| arg.help(ring_help(DEFAULT_RING))),
    after_help = "\
Examples:
  dpif-ops                             every operation, with its flow and actions
  dpif-ops -o put,del                  which flows come and go
  dpif-ops -o execute -t handler3      the packets that one handler sends back
  dpif-ops -n nlraw -c 10              ten requests, attribute by attribute
  dpif-ops -q --duration 10            how many operations there are, and who asks for them
  dpif-ops --format json | jq .flow    for programs
  dpif-ops --record f --duration 60    record a minute; --replay f shows it again, anywhere"
)]
pub struct Args {
    #[command(flatten)]
    pub daemon: Daemon,

    /// Show only these operations [default: all]
    #[arg(short, long, value_name = "OPERATION", value_delimiter = ',')]
    pub operation: Vec<Operation>,

    /// Show only operations of this thread, a name (handler1) or a thread id
    #[arg(short, long, value_name = "THREAD", value_parser = thread)]
    pub thread: Option<String>,

    /// Show requests in this form
    #[arg(short, long, value_name = "FORM", default_value = "odp")]
    pub nlmsg_decode: Decode,

    /// Capture at most N bytes of a request [default: all that a record has room for]
    #[arg(short = 's', long, value_name = "N", value_parser = clap::value_parser!(u32).range(24..=i64::from(MAX_REQUEST)))]
    pub nlmsg_size: Option<u32>,

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

/// What ovs-vswitchd asks of the datapath.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Operation {
    /// Create or modify a flow
    Put,
    /// Delete a flow
    Del,
    /// Look a flow up
    Get,
    /// Execute actions on a packet
    Execute,
}

impl From<Operation> for flow_request::Operation {
    fn from(operation: Operation) -> Self {
        match operation {
            Operation::Put => Self::Put,
            Operation::Del => Self::Del,
            Operation::Get => Self::Get,
            Operation::Execute => Self::Execute,
        }
    }
}

fn thread(text: &str) -> Result<String, String> {
    match text {
        "" => Err("no thread has an empty name".to_string()),
        "0" => Err("no thread has the id 0".to_string()),
        _ => Ok(text.to_string()),
    }
}

impl Args {
    /// Whether operations of this kind are shown.
    pub fn has(&self, operation: flow_request::Operation) -> bool {
        let same = |wanted: &Operation| flow_request::Operation::from(*wanted) == operation;
        self.operation.is_empty() || self.operation.iter().any(same)
    }

    /// Whether operations of this thread are shown.
    pub fn has_thread(&self, tid: u32, comm: &[u8]) -> bool {
        let Some(thread) = &self.thread else {
            return true;
        };
        match thread.parse::<u32>() {
            Ok(wanted) => tid == wanted,
            // The kernel keeps 15 bytes of a name.
            Err(_) => comm == &thread.as_bytes()[..thread.len().min(15)],
        }
    }
}
