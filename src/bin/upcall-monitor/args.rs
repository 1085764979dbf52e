//! The command line. Nothing here looks at the machine.

use std::path::{Path, PathBuf};

use clap::builder::NonEmptyStringValueParser;
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, ValueEnum};
use ovs_tracers::bpf::upcall_monitor::types::capture_limit;
use ovs_tracers::cli::options::{Format, Recording, Summary, Thread, Trace, ring_help};
use ovs_tracers::run::rotation::Criterion;
use ovs_tracers::show::decode::Decode;
use ovs_tracers::trace::netlink::UpcallMessages;
use ovs_tracers::upcall::event::Upcall;
use ovs_tracers::upcall::packet_filter::Filter;
use ovs_tracers::upcall::text::PacketDecode;

/// The most that a record of the kernel carries.
pub const MAX_PACKET_SIZE: u32 = capture_limit::MAX_PACKET.0;
pub const MAX_KEY_SIZE: u32 = capture_limit::MAX_KEY.0;

/// Bytes of the ring. Some hundredths of a second of jumbo frames at full speed fit into it, while the machine is busy with
/// other things.
pub const DEFAULT_RING: usize = 16 << 20;

/// Which upcalls are shown, by their result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ResultFilter {
    /// Those that ovs-vswitchd received
    Ok,
    /// Those that failed in the kernel, before ovs-vswitchd saw them
    Error,
    /// Both
    Any,
}

/// `enum dpif_upcall_type` of Open vSwitch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// No flow matched the packet
    Miss,
    /// An action sent it up
    Action,
}

/// Show, decode and capture every upcall from the kernel datapath to ovs-vswitchd
///
/// Attaches to the USDT probe dpif_recv:recv_upcall of a running ovs-vswitchd (built with --enable-usdt-probes, Open
/// vSwitch 2.17 or later) and to where upcalls fail in the kernel before that, and prints a row for each upcall until
/// Ctrl-C.
#[derive(Debug, Parser)]
#[command(
    name = "upcall-monitor",
    version,
    max_term_width = 100,
    mut_arg("quiet", |arg| {
        arg.help("Show only the summary of who causes the upcalls: at the end, or with --interval")
            .help_heading("Summary")
    }),
    mut_arg("interval", |arg| arg.help_heading("Summary").conflicts_with("replay")),
    mut_arg("thread", |arg| {
        arg.help("Show only upcalls that this thread received, a name (handler1) or a thread id").help_heading("Filters")
    }),
    mut_arg("count", |arg| arg.help("Stop after N upcalls")),
    mut_arg("buffer_page_count", |arg| arg.help(ring_help(DEFAULT_RING))),
    after_help = "\
Examples:
  upcall-monitor                              a row for every upcall of the running ovs-vswitchd
  upcall-monitor -k odp                       ... and its flow key, as ovs-dpctl shows it
  upcall-monitor -k nlraw -d decode -c 10     ten upcalls with all of their contents
  upcall-monitor udp port 53                  only those of DNS, in tcpdump's language
  upcall-monitor --quiet --top 5 --duration 5 what floods ovs-vswitchd
  upcall-monitor --result error               what the kernel drops before ovs-vswitchd sees it
  upcall-monitor --pcap out.pcap -p PID       write the packets to a pcapng file as well
  upcall-monitor -w - | tshark -i -           look at them live in tshark
  upcall-monitor --format json | jq .key.odp  process them; the manual page has more
  upcall-monitor --record f --duration 60     record a minute; --replay f shows it again, anywhere"
)]
pub struct Args {
    /// Trace the ovs-vswitchd with this process id; may be repeated [default: the only one that is running]
    #[arg(short, long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..=i32::MAX as i64))]
    pub pid: Vec<u32>,

    /// Wait for ovs-vswitchd to start, and when it exits wait for the next one and trace that
    #[arg(long, conflicts_with = "replay")]
    pub follow: bool,

    #[command(flatten)]
    pub filters: Filters,

    #[command(flatten)]
    pub summary: Summary,

    /// Show N lines of each part of a summary, and a summary at the end [default: 10]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Summary")]
    pub top: Option<u32>,

    /// Write the packets to FILE as pcapng; "-" is standard output, where no table is printed then
    #[arg(short = 'w', long, value_name = "FILE")]
    pub pcap: Option<PathBuf>,

    /// Begin the next file of --pcap at duration:TIME or filesize:KB, and keep the last N with files:N; separate by commas
    #[arg(long, value_name = "WHEN", value_delimiter = ',', requires = "pcap")]
    pub rotate: Vec<Criterion>,

    /// Form of the standard output
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: Format,

    /// Show the flow key of each upcall; JSON always has it
    #[arg(short = 'k', long, value_name = "FORM", default_value = "none")]
    pub flow_key_decode: Decode,

    /// Show the packet of each upcall
    #[arg(short = 'd', long, value_name = "FORM", default_value = "none")]
    pub packet_decode: PacketDecode,

    /// Capture at most N bytes of a packet [default: all if it is decoded or written, else none; 0: all]
    #[arg(short = 's', long, value_name = "N", conflicts_with = "replay", value_parser = clap::value_parser!(u32).range(..=MAX_PACKET_SIZE as i64))]
    pub packet_size: Option<u32>,

    /// Capture at most N bytes of a flow key [default: all; 0: all]
    #[arg(short = 'f', long, value_name = "N", conflicts_with = "replay", value_parser = clap::value_parser!(u32).range(..=MAX_KEY_SIZE as i64))]
    pub flow_key_size: Option<u32>,

    #[command(flatten)]
    pub trace: Trace,

    #[command(flatten)]
    pub recording: Recording,

    /// Look for failed upcalls in this way only, so that tests can choose another than the best
    #[arg(long, hide = true)]
    pub kernel_side: Option<String>,

    /// Take these netlink messages for upcalls, so that tests can send some
    #[arg(long, hide = true)]
    pub netlink: Option<UpcallMessages>,

    /// Show only upcalls whose packet matches: an expression of tcpdump, udp port 53 for example (pcap-filter(7))
    #[arg(value_name = "EXPRESSION")]
    pub expression: Vec<String>,

    /// The expression, compiled.
    #[arg(skip)]
    pub filter: Option<Filter>,
}

/// Which upcalls are shown.
#[derive(Clone, Debug, clap::Args)]
pub struct Filters {
    /// Show only upcalls that ovs-vswitchd received, or only those that failed in the kernel before that [default: any]
    #[arg(short, long, value_name = "WHICH", help_heading = "Filters")]
    pub result: Option<ResultFilter>,

    /// Show only upcalls of this datapath, ovs-system or system@ovs-system for example
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new(), help_heading = "Filters")]
    pub dp: Option<String>,

    /// Show only upcalls from this port of the datapath, a name or a number; may be repeated
    #[arg(long, value_name = "PORT", value_parser = NonEmptyStringValueParser::new(), help_heading = "Filters")]
    pub port: Vec<String>,

    /// Show only upcalls of this type
    #[arg(long = "type", value_name = "TYPE", help_heading = "Filters")]
    pub kind: Option<Kind>,

    #[command(flatten)]
    pub thread: Thread,

    /// Show only upcalls whose packet has at least N bytes
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        hide_default_value = true,
        help_heading = "Filters"
    )]
    pub min_size: u32,
}

impl Filters {
    pub fn result(&self) -> ResultFilter {
        self.result.unwrap_or(ResultFilter::Any)
    }

    /// The name that ovs-vswitchd has for the datapath.
    pub fn datapath(&self) -> Option<String> {
        let full = |name: &String| match name.contains('@') {
            true => name.clone(),
            false => format!("system@{name}"),
        };
        self.dp.as_ref().map(full)
    }

    /// Whether an upcall matches all filters but the one of ports. Live upcalls are filtered in the kernel.
    pub fn has(&self, upcall: &Upcall<'_>) -> bool {
        let received = upcall.result == 0;
        let result = match self.result() {
            ResultFilter::Ok => received,
            ResultFilter::Error => !received,
            ResultFilter::Any => true,
        };
        result
            && self.kind.is_none_or(|kind| upcall.kind == kind.number())
            && upcall.packet.len >= self.min_size
            && (self.thread.thread.is_none()
                || received && self.thread.has(upcall.tid, upcall.comm))
            && self
                .datapath()
                .is_none_or(|name| upcall.datapath == name.as_bytes())
    }

    /// Whether a port of this number and name matches.
    pub fn has_port(&self, number: Option<u32>, name: Option<&str>) -> bool {
        let is = |port: &String| match port.parse() {
            Ok(wanted) => number == Some(wanted),
            Err(_) => name == Some(port),
        };
        self.port.is_empty() || self.port.iter().any(is)
    }
}

impl Kind {
    /// In `enum dpif_upcall_type`.
    pub fn number(self) -> u32 {
        match self {
            Self::Miss => 0,
            Self::Action => 1,
        }
    }
}

impl Args {
    /// Compiles the packet filter. Ends the process if that fails, or if two arguments contradict each other in a way
    /// that clap knows nothing of.
    pub fn check(&mut self) {
        self.check_conflicts();
        // tcpdump joins its arguments in this way, too.
        let expression = self.expression.join(" ");
        if expression.trim().is_empty() {
            return;
        }
        match Filter::new(&expression) {
            Ok(filter) => self.filter = Some(filter),
            Err(error) => Self::command()
                .error(ErrorKind::ValueValidation, error)
                .exit(),
        }
    }

    fn check_conflicts(&self) {
        let to_stdout = self.pcap.as_deref() == Some(Path::new("-"));
        let error = if self.format == Format::Json && to_stdout {
            "the argument '--format json' cannot be used with '--pcap -': both go to standard output"
        } else if self.summary.quiet && to_stdout {
            "the argument '--quiet' cannot be used with '--pcap -': both go to standard output"
        } else if !self.rotate.is_empty() && to_stdout {
            "the argument '--rotate' cannot be used with '--pcap -': standard output is one file"
        } else if !self.rotate.is_empty() && !self.rotate.iter().any(|criterion| criterion.ends()) {
            "the argument '--rotate files:N' needs duration:TIME or filesize:KB as well: nothing ends a file"
        } else if self.pid.len() > 1 && self.recording.record.is_some() {
            "the argument '--record' cannot be used with several '--pid': a recording is of one daemon"
        } else if self.pid.len() > 1 && self.follow {
            "the argument '--follow' cannot be used with several '--pid': it traces one daemon after the other"
        } else {
            return;
        };
        Self::command()
            .error(ErrorKind::ArgumentConflict, error)
            .exit();
    }

    /// How many lines each part of the summary by flow has, if there is one.
    pub fn summary_lines(&self) -> Option<usize> {
        let wanted = self.summary.quiet || self.summary.interval.is_some() || self.top.is_some();
        wanted.then_some(self.top.unwrap_or(10) as usize)
    }

    /// Whether nothing is wanted of an upcall but that it is counted.
    pub fn only_counts(&self) -> bool {
        let files = self.pcap.is_some() || self.recording.record.is_some();
        self.summary.quiet && !files && self.trace.count.is_none()
    }

    /// How many bytes of a packet are captured at most. `filter` is a packet filter that is applied to what was captured.
    pub fn packet_snaplen(&self, filter: Option<&Filter>) -> u32 {
        let wanted = !matches!(self.packet_decode, PacketDecode::None)
            || self.pcap.is_some()
            || self.recording.record.is_some();
        match self.packet_size {
            Some(0) => MAX_PACKET_SIZE,
            Some(size) => size,
            None if wanted => MAX_PACKET_SIZE,
            // As much as the filter looks at.
            None => match filter {
                Some(filter) => filter.reach().unwrap_or(u32::MAX).min(MAX_PACKET_SIZE),
                None => 0,
            },
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
