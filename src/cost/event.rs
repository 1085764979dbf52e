//! One event of an upcall, whatever it was read from.

use std::ops::Range;

use crate::ovs::packet::Link;
use crate::ovs::{flow_key, flow_request};
use crate::trace::captured::Captured;

/// What happened: `enum cost_event` of `bpf/upcall_cost.h`, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// ovs-vswitchd took an upcall from its socket: at its probe or, with the kernel as the source, just before the
    /// kernel copies the message to it.
    RecvUpcall,
    /// An upcall, or one segment of it, leaves the datapath.
    DpUpcall,
    /// ovs-vswitchd encodes a request to install a flow or, with the kernel as the source, sends it.
    OpFlowPut,
    /// The same of a request to execute actions on a packet.
    OpFlowExecute,
    /// The kernel begins to execute such a request.
    OvsPktExec,
    /// The upcall could not be queued.
    DpFailed,
    /// The kernel begins to give the message of an upcall to its socket. Only with the kernel as the source.
    DpQueued,
}

/// `MAX_ERRNO` of include/linux/err.h.
const MAX_ERRNO: i32 = 4095;

/// How many kinds there are.
pub const KINDS: usize = 7;

impl Kind {
    pub const ALL: [Self; KINDS] = [
        Self::RecvUpcall,
        Self::DpUpcall,
        Self::OpFlowPut,
        Self::OpFlowExecute,
        Self::OvsPktExec,
        Self::DpFailed,
        Self::DpQueued,
    ];

    /// The name that `upcall_cost.py` gives the event; those that it does not know have one like them.
    pub fn name(self) -> &'static str {
        match self {
            Self::RecvUpcall => "dpif_recv__recv_upcall",
            Self::DpUpcall => "openvswitch__dp_upcall",
            Self::OpFlowPut => "dpif_netlink_operate__op_flow_put",
            Self::OpFlowExecute => "dpif_netlink_operate__op_flow_execute",
            Self::OvsPktExec => "ktrace__ovs_packet_cmd_execute",
            Self::DpFailed => "openvswitch__dp_upcall_failed",
            Self::DpQueued => "openvswitch__dp_upcall_queued",
        }
    }
}

/// One event. A field that an event does not have is 0, empty or `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    pub kind: Kind,
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub time: u64,
    pub cpu: u32,
    /// The current task. An upcall leaves the datapath in whichever task it interrupted.
    pub pid: u32,
    pub tid: u32,
    pub comm: &'a [u8],
    /// `dpif->full_name`, for example `system@ovs-system`; the kernel knows only the part after the `@`.
    pub datapath: &'a [u8],
    /// The name of the device that the packet came from.
    pub device: &'a [u8],
    /// `enum dpif_upcall_type`: 0 is a flow miss, 1 an action.
    pub upcall_type: u32,
    /// The negative errno of a [`Kind::DpFailed`]; that of a request which failed, with the kernel as the source.
    pub result: i32,
    /// The number of the port by which the packet entered the datapath.
    pub port: Option<u32>,
    /// The netlink port that the upcall is sent to; 0 if it is not known.
    pub portid: u32,
    /// The address of the packet in the kernel, which joins [`Kind::DpFailed`] and [`Kind::DpQueued`] to their
    /// [`Kind::DpUpcall`].
    pub skb: u64,
    /// The address of the message in the kernel, which joins a [`Kind::RecvUpcall`] to its [`Kind::DpQueued`]; 0 if it is
    /// not known.
    pub message: u64,
    /// The number of the datapath that a message came from, which has no name.
    pub dp_ifindex: Option<u32>,
    /// When the kernel began with the request that the event is of, and when it was done with it.
    pub begun: Option<u64>,
    pub ended: Option<u64>,
    pub packet: Captured<'a>,
    /// The flow key; a [`Kind::OpFlowPut`] has the attributes of its request instead (`OVS_FLOW_ATTR_*`).
    pub key: Captured<'a>,
    /// The place in the packet of a checksum that the kernel had not yet completed.
    pub checksum: Option<Range<usize>>,
    /// The kernel's events come from the tracepoint `ovs_dp_upcall`, which shows a packet before the kernel puts a VLAN
    /// tag back into it, segments it, and completes a checksum whose place is not known.
    pub unfinished: bool,
    /// How many bytes of the record that it was read from it uses.
    pub record_len: usize,
}

impl<'a> Event<'a> {
    /// An event of which only the kind and the time are known.
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
            message: 0,
            dp_ifindex: None,
            begun: None,
            ended: None,
            packet: Captured::default(),
            key: Captured::default(),
            checksum: None,
            unfinished: false,
            record_len: 0,
        }
    }

    /// The flow key within the request of a [`Kind::OpFlowPut`].
    pub fn flow_key(&self) -> Option<flow_key::Attribute<'a>> {
        flow_key::attributes(self.key.bytes)
            .find(|attribute| attribute.kind == flow_request::OVS_FLOW_ATTR_KEY)
    }

    /// What its packet begins with. Only the key of a [`Kind::RecvUpcall`] says it.
    pub fn link(&self) -> Link {
        match self.kind {
            Kind::RecvUpcall => Link::of_key(self.key.bytes),
            _ => Link::Unknown,
        }
    }

    /// Whether the event has what is needed to match it with others.
    pub fn usable(&self) -> bool {
        match self.kind {
            Kind::RecvUpcall => self.packet.len > 0 && self.key.len > 0,
            Kind::DpUpcall | Kind::OpFlowExecute => self.packet.len > 0,
            Kind::OpFlowPut | Kind::OvsPktExec | Kind::DpQueued => true,
            Kind::DpFailed => (-MAX_ERRNO..0).contains(&self.result),
        }
    }
}

/// The name of a datapath without its type, as the kernel has it.
pub fn short_datapath(name: &[u8]) -> &[u8] {
    name.strip_prefix(b"system@").unwrap_or(name)
}
