//! What can be typed. Nothing here looks at the machine.

use std::path::{Path, PathBuf};

use clap::builder::NonEmptyStringValueParser;
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, ValueEnum};
use ovs_tracers::cli::options::{Format, Recording, Summary, Trace, ring_help};
use ovs_tracers::run::rotation::Criterion;
use ovs_tracers::upcall::event::Upcall;
use ovs_tracers::upcall::packet_filter::Filter;
use ovs_tracers::upcall::text::{KeyDecode, PacketDecode};

use crate::live::KernelSide;

/// The most that a record of the kernel carries: MAX_PACKET and MAX_KEY of bpf/upcall_monitor.h.
pub const MAX_PACKET_SIZE: u32 = 65535;
pub const MAX_KEY_SIZE: u32 = 2048;

/// The kernel keeps so many bytes of a thread's name.
pub const MAX_COMM: usize = 15;

/// Bytes of the ring. Some hundredths of a second of jumbo frames at full speed fit into it, while the machine is busy with
/// other things.
pub const DEFAULT_RING: usize = 16 << 20;

/// Which upcalls are shown, by what became of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Outcome {
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
/// vSwitch 2.17 or later) and to what tells of upcalls that fail in the kernel before that, prints a row for each
/// upcall, and goes on until Ctrl-C.
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
    mut_arg("count", |arg| arg.help("Stop after N upcalls")),
    mut_arg("buffer_page_count", |arg| arg.help(ring_help(DEFAULT_RING))),
    after_help = "\
Examples:
  upcall-monitor                              a row for every upcall of the ovs-vswitchd that runs
  upcall-monitor -k odp                       ... and its flow key, as ovs-dpctl shows it
  upcall-monitor -k nlraw -d decode -c 10     ten upcalls with all that is in them
  upcall-monitor udp port 53                  those of DNS, as tcpdump would choose them
  upcall-monitor --quiet --top 5 --duration 5 what floods ovs-vswitchd
  upcall-monitor --result error               what the kernel drops before ovs-vswitchd sees it
  upcall-monitor --pcap out.pcap -p PID       write the packets to a pcapng file as well
  upcall-monitor -w - | tshark -i -           look at them live in tshark
  upcall-monitor --format json | jq .key.odp  process them; the manual page has more
  upcall-monitor --record f --duration 60     record a minute; --replay f shows it again, anywhere"
)]
pub struct Args {
    /// The ovs-vswitchd to trace; may be repeated [default: the one that runs]
    #[arg(short, long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..=i32::MAX as i64))]
    pub pid: Vec<u32>,

    /// When ovs-vswitchd exits, wait for the next one and trace that; wait for the first one, too
    #[arg(long, conflicts_with = "replay")]
    pub follow: bool,

    #[command(flatten)]
    pub chosen: Chosen,

    #[command(flatten)]
    pub summary: Summary,

    /// Lines of each part of a summary; with it there is one at the end [default: 10]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Summary")]
    pub top: Option<u32>,

    /// Write the packets to FILE, as pcapng; "-" is standard output, and no table is printed then
    #[arg(short = 'w', long, value_name = "FILE")]
    pub pcap: Option<PathBuf>,

    /// Go on to another file of --pcap: duration:SECONDS, filesize:KB, files:N to keep the last N; commas between them
    #[arg(long, value_name = "WHEN", value_delimiter = ',', requires = "pcap")]
    pub rotate: Vec<Criterion>,

    /// Form of the standard output
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: Format,

    /// Show the flow key of each upcall; JSON always has it
    #[arg(short = 'k', long, value_name = "FORM", default_value = "none")]
    pub flow_key_decode: KeyDecode,

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

    /// Look for failed upcalls in this way only: for tests of the other ways than the best
    #[arg(long, hide = true)]
    pub kernel_side: Option<KernelSide>,

    /// Only upcalls with such packets: an expression of tcpdump, udp port 53 for example (pcap-filter(7))
    #[arg(value_name = "EXPRESSION")]
    pub expression: Vec<String>,

    /// That, compiled.
    #[arg(skip)]
    pub filter: Option<Filter>,
}

/// Which upcalls are shown.
#[derive(Clone, Debug, clap::Args)]
pub struct Chosen {
    /// Which upcalls: received by ovs-vswitchd, failed in the kernel before that, or both [default: any]
    #[arg(short, long, value_name = "WHICH", help_heading = "Filters")]
    pub result: Option<Outcome>,

    /// Only upcalls of this datapath, ovs-system or system@ovs-system for example
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new(), help_heading = "Filters")]
    pub dp: Option<String>,

    /// Only upcalls by this port of the datapath, a name or a number; may be repeated
    #[arg(long, value_name = "PORT", value_parser = NonEmptyStringValueParser::new(), help_heading = "Filters")]
    pub port: Vec<String>,

    /// Only upcalls of this type
    #[arg(long = "type", value_name = "TYPE", help_heading = "Filters")]
    pub kind: Option<Kind>,

    /// Only upcalls that this thread received, a name (handler1) or a thread id
    #[arg(long, value_name = "THREAD", value_parser = thread_name, help_heading = "Filters")]
    pub thread: Option<String>,

    /// Only upcalls whose packet has at least N bytes
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        hide_default_value = true,
        help_heading = "Filters"
    )]
    pub min_size: u32,
}

impl Chosen {
    pub fn outcome(&self) -> Outcome {
        self.result.unwrap_or(Outcome::Any)
    }

    /// The datapath as ovs-vswitchd calls it.
    pub fn datapath(&self) -> Option<String> {
        let full = |name: &String| match name.contains('@') {
            true => name.clone(),
            false => format!("system@{name}"),
        };
        self.dp.as_ref().map(full)
    }

    /// Whether an upcall is one of these, its port aside: what the kernel's side asks of live ones.
    pub fn has(&self, upcall: &Upcall<'_>) -> bool {
        let received = upcall.result == 0;
        let outcome = match self.outcome() {
            Outcome::Ok => received,
            Outcome::Error => !received,
            Outcome::Any => true,
        };
        let thread = |thread: &String| match thread.parse::<u32>() {
            Ok(tid) => upcall.tid == tid,
            Err(_) => upcall.comm == &thread.as_bytes()[..thread.len().min(MAX_COMM)],
        };
        outcome
            && self.kind.is_none_or(|kind| upcall.kind == kind.number())
            && upcall.packet.len >= self.min_size
            && self
                .thread
                .as_ref()
                .is_none_or(|name| received && thread(name))
            && self
                .datapath()
                .is_none_or(|name| upcall.datapath == name.as_bytes())
    }

    /// Whether a port of this number and name is one of these.
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

fn thread_name(text: &str) -> Result<String, String> {
    match text {
        "" => Err("no thread has an empty name".to_string()),
        // In the program it stands for none being asked for.
        "0" => Err("no thread has the id 0".to_string()),
        _ => Ok(text.to_string()),
    }
}

impl Args {
    /// Ends the process if two arguments contradict each other in a way that clap cannot be told of, or the packet filter
    /// is none.
    pub fn check(&mut self) {
        self.check_conflicts();
        // As tcpdump has it.
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
            "the argument '--rotate files:N' needs duration:SECONDS or filesize:KB besides: nothing ends a file"
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

    /// Lines of each part of a summary by flow, if there is to be one.
    pub fn summary_lines(&self) -> Option<usize> {
        let wanted = self.summary.quiet || self.summary.interval.is_some() || self.top.is_some();
        wanted.then_some(self.top.unwrap_or(10) as usize)
    }

    /// Bytes of a packet to capture at most, for `filter` too if there is one to apply to them.
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

    /// Bytes of a flow key to capture at most.
    pub fn key_snaplen(&self) -> u32 {
        match self.flow_key_size {
            None | Some(0) => MAX_KEY_SIZE,
            Some(size) => size,
        }
    }
}
