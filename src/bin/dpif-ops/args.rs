//! What can be typed. Nothing here looks at the machine.

use anyhow::bail;
use clap::Parser;
use ovs_tracers::bpf::dpif_ops::types::dpif_ops_limit;
use ovs_tracers::cli::options::{Common, Thread, ring_help};
use ovs_tracers::dpif_ops::probes::OPERATIONS;
use ovs_tracers::ovs::flow_request::Operation;
use ovs_tracers::show::decode::Decode;
use ovs_tracers::trace::probes::Source;

/// Bytes: some hundredths of a second of full packets at full speed, for a machine that is busy with other things.
pub const DEFAULT_RING: usize = 16 << 20;
/// The most that a record carries.
pub const MAX_REQUEST: u32 = dpif_ops_limit::MAX_REQUEST.0;

/// Show every operation that ovs-vswitchd asks of the kernel datapath: puts, deletes and gets of flows, and executes
///
/// Attaches to the USDT probes dpif_netlink_operate__:op_flow_* of a running ovs-vswitchd (built with
/// --enable-usdt-probes, Open vSwitch 2.17 or later), and prints a row for each request that the daemon is about to send,
/// with its flow and its actions. Without these probes, or with --source kernel, it attaches to the kernel's own functions,
/// and prints a row for each request that the kernel has handled, with its result and how long it took: also for dumps, and
/// for what is asked of datapaths, ports, meters and limits of connections.
#[derive(Debug, Parser)]
#[command(
    name = "dpif-ops",
    version,
    max_term_width = 100,
    mut_arg("thread", |arg| arg.short('t').help("Show only operations of this thread, a name (handler1) or a thread id")),
    mut_arg("count", |arg| arg.help("Stop after N operations")),
    mut_arg("buffer_page_count", |arg| arg.help(ring_help(DEFAULT_RING))),
    after_help = "\
Examples:
  dpif-ops                             every operation, with its flow and actions
  dpif-ops -o put,del                  which flows come and go
  dpif-ops -o execute -t handler3      the packets that one handler sends back
  dpif-ops -n nlraw -c 10              ten requests, attribute by attribute
  dpif-ops -q --duration 10            how many operations there are, and who asks for them
  dpif-ops --source kernel             with their results and durations
  dpif-ops -o dump,vport               what only the kernel shows
  dpif-ops --format json | jq .flow    for programs
  dpif-ops --record f --duration 60    record a minute; --replay f shows it again, anywhere"
)]
pub struct Args {
    /// Show only these operations; the probes have put, del, get and execute only [default: all]
    #[arg(short, long, value_name = "OPERATION", value_delimiter = ',')]
    pub operation: Vec<Operation>,

    #[command(flatten)]
    pub thread: Thread,

    /// Show requests in this form
    #[arg(short, long, value_name = "FORM", default_value = "odp")]
    pub nlmsg_decode: Decode,

    /// Capture at most N bytes of a request [default: 81920, which is all but of the largest packets]
    #[arg(short = 's', long, value_name = "N", conflicts_with = "replay", value_parser = clap::value_parser!(u32).range(24..=i64::from(MAX_REQUEST)))]
    pub nlmsg_size: Option<u32>,

    /// How to see what happens in the kernel, fentry or kprobe: for tests
    #[arg(long, value_name = "WAY", hide = true)]
    pub kernel_side: Option<String>,

    #[command(flatten)]
    pub common: Common,
}

impl Args {
    pub fn has(&self, operation: Operation) -> bool {
        self.operation.is_empty() || self.operation.contains(&operation)
    }

    /// Whether any of the operations may be a dump.
    pub fn has_dumps(&self) -> bool {
        use Operation::{Datapath, Dump, Vport};
        [Dump, Datapath, Vport]
            .into_iter()
            .any(|operation| self.has(operation))
    }

    /// The source that is asked for: by --source, or by an operation that only the kernel shows.
    ///
    /// # Errors
    /// If the source that is asked for does not show such an operation.
    pub fn source(&self) -> anyhow::Result<Option<Source>> {
        let has_probe = |wanted| {
            OPERATIONS
                .iter()
                .any(|(_, operation, ..)| *operation == wanted)
        };
        let asked = self.common.trace.source.asked();
        match self
            .operation
            .iter()
            .find(|operation| !has_probe(**operation))
        {
            Some(operation) if asked == Some(Source::Usdt) => bail!(
                "no probe shows the operation {}\n--source kernel shows it",
                operation.name()
            ),
            Some(_) => Ok(Some(Source::Kernel)),
            None => Ok(asked),
        }
    }
}
