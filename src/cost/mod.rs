//! Where the time of an upcall goes: what upcall-cost makes of its events.
//!
//! [`Event`] is read from a record of the kernel or from a file of upstream's script ([`upstream`]); [`matcher`] puts the
//! events of each upcall together; [`stats`] counts what it found, and [`report`], [`json`] and [`svg`] show it.

pub mod analysis;
pub mod histogram;
pub mod json;
pub mod matcher;
mod record;
pub mod report;
pub mod stats;
pub mod svg;
mod transport;
pub mod upstream;

pub use record::Error;

use std::fmt;
use std::ops::Range;

use crate::ovs::flow_key;
use crate::show::escape::Escaped;
use crate::upcall::event::Captured;

/// What happened: `enum cost_event` of `bpf/upcall_cost.h`, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// ovs-vswitchd took an upcall from its socket.
    RecvUpcall,
    /// An upcall, or one segment of it, leaves the datapath.
    DpUpcall,
    /// ovs-vswitchd encodes a request to install a flow.
    OpFlowPut,
    /// ovs-vswitchd encodes a request to execute actions on a packet.
    OpFlowExecute,
    /// The kernel begins to execute such a request.
    OvsPktExec,
    /// The upcall could not be queued.
    DpFailed,
}

/// include/linux/err.h
const MAX_ERRNO: i32 = 4095;

/// How many kinds there are.
pub const KINDS: usize = 6;

impl Kind {
    pub const ALL: [Self; KINDS] = [
        Self::RecvUpcall,
        Self::DpUpcall,
        Self::OpFlowPut,
        Self::OpFlowExecute,
        Self::OvsPktExec,
        Self::DpFailed,
    ];

    /// The names of `upcall_cost.py`; it does not know the last.
    pub fn name(self) -> &'static str {
        match self {
            Self::RecvUpcall => "dpif_recv__recv_upcall",
            Self::DpUpcall => "openvswitch__dp_upcall",
            Self::OpFlowPut => "dpif_netlink_operate__op_flow_put",
            Self::OpFlowExecute => "dpif_netlink_operate__op_flow_execute",
            Self::OvsPktExec => "ktrace__ovs_packet_cmd_execute",
            Self::DpFailed => "openvswitch__dp_upcall_failed",
        }
    }
}

/// One event. What an event does not have is 0, empty or `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    pub kind: Kind,
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub time: u64,
    pub cpu: u32,
    /// The current task; of an upcall that leaves the datapath, whichever it interrupted.
    pub pid: u32,
    pub tid: u32,
    pub comm: &'a [u8],
    /// `dpif->full_name`, for example `system@ovs-system`, of which the kernel has the part behind the `@`.
    pub datapath: &'a [u8],
    /// Name of the device that the packet came from.
    pub device: &'a [u8],
    /// `enum dpif_upcall_type`: 0 is a flow miss, 1 an action.
    pub upcall_type: u32,
    /// Of [`Kind::DpFailed`], a negative errno.
    pub result: i32,
    /// Port of the datapath by which the packet came in.
    pub port: Option<u32>,
    /// The netlink port that the upcall is sent to; 0 if it is not known.
    pub portid: u32,
    /// Address of the packet in the kernel, which joins [`Kind::DpFailed`] to its [`Kind::DpUpcall`].
    pub skb: u64,
    pub packet: Captured<'a>,
    /// The flow key, or of [`Kind::OpFlowPut`] the attributes of the request (`OVS_FLOW_ATTR_*`).
    pub key: Captured<'a>,
    /// Where in the packet a checksum is that the kernel had not completed yet.
    pub checksum: Option<Range<usize>>,
    /// This is an upcall as the tracepoint `ovs_dp_upcall` shows it: before a VLAN tag was put back into the packet,
    /// before it was segmented, and before an unknown checksum was completed.
    pub unfinished: bool,
}

impl<'a> Event<'a> {
    /// An event of which only this much is known.
    pub fn new(kind: Kind, time: u64) -> Self {
        Self {
            kind,
            time,
            cpu: 0,
            pid: 0,
            tid: 0,
            comm: b"",
            datapath: b"",
            device: b"",
            upcall_type: 0,
            result: 0,
            port: None,
            portid: 0,
            skb: 0,
            packet: Captured::default(),
            key: Captured::default(),
            checksum: None,
            unfinished: false,
        }
    }

    /// The bytes of the flow key: of a request to install a flow, those within it.
    pub fn flow_key(&self) -> Option<flow_key::Attribute<'a>> {
        flow_key::attributes(self.key.bytes)
            .find(|attribute| attribute.kind == flow_key::OVS_FLOW_ATTR_KEY)
    }

    /// Whether it has what is needed to put it together with others.
    pub fn usable(&self) -> bool {
        match self.kind {
            Kind::RecvUpcall => self.packet.len > 0 && self.key.len > 0,
            Kind::DpUpcall | Kind::OpFlowExecute => self.packet.len > 0,
            Kind::OpFlowPut | Kind::OvsPktExec => true,
            Kind::DpFailed => (-MAX_ERRNO..0).contains(&self.result),
        }
    }
}

/// The name of a datapath without its type, as the kernel has it.
pub fn short_datapath(name: &[u8]) -> &[u8] {
    name.strip_prefix(b"system@").unwrap_or(name)
}

/// The header of the lines of [`line()`].
pub const HEADER: &str = "EVENT                    COMM                  PID  CPU  TIME                EVENT \
                          DATA[dpif_name/dp_port/pkt_len/pkt_frag_len]\n";

/// A line of an event, as `upcall_cost.py` prints it.
pub fn line(out: &mut impl fmt::Write, event: &Event<'_>) -> fmt::Result {
    use fmt::Write as _;

    let name = event.kind.name();
    match event.kind {
        Kind::RecvUpcall | Kind::DpUpcall => write!(out, "[{name}]")?,
        _ => write!(out, "[..{}]", &name[name.len() - 20..])?,
    }
    let (seconds, nanoseconds) = (event.time / 1_000_000_000, event.time % 1_000_000_000);
    write!(
        out,
        " {:<16} {:8} [{:03}] {seconds:>8}.{nanoseconds:09}",
        Escaped(event.comm),
        event.tid,
        event.cpu
    )?;
    let size = event.packet.len;
    let datapath = Escaped(short_datapath(event.datapath));
    let mut port = String::from("?");
    if let Some(number) = event.port {
        port.clear();
        write!(port, "{number}")?;
    }
    match event.kind {
        Kind::DpUpcall => {
            let whole = event.packet.bytes.len() == size as usize;
            let linear = if whole { 0 } else { event.packet.bytes.len() };
            write!(out, ": {datapath:<17} {port:>4} {size:4} {linear:4}")?;
        }
        Kind::RecvUpcall => write!(out, ": {datapath:<17} {port:>4} {size:4}")?,
        Kind::OpFlowExecute => write!(out, ": {:<17} {:4} {size:4}", "", "")?,
        Kind::DpFailed => write!(out, ": {datapath:<17} {port:>4} {size:4} {}", event.result)?,
        Kind::OpFlowPut | Kind::OvsPktExec => {}
    }
    out.write_char('\n')
}
