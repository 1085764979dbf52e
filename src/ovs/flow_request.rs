//! A request of ovs-vswitchd to the kernel's datapath: to put, delete or get a flow, to execute actions on a packet, or
//! what else the datapath can be asked.
//!
//! The daemon builds a generic netlink message: `struct nlmsghdr`, `struct genlmsghdr`, `struct ovs_header`, then a run
//! of `OVS_FLOW_ATTR_*` or `OVS_PACKET_ATTR_*`. Numbers and layouts are those of `include/uapi/linux/openvswitch.h` of
//! Linux 6.12 (`OVS_PACKET_ATTR_UPCALL_PID` came later, with Linux 6.17), `linux/netlink.h` and `linux/genetlink.h`.
//!
//! The probes `dpif_netlink_operate__:op_flow_*` fire when the message is built and not yet sent: the socket fills in
//! `nlmsg_len`, `nlmsg_seq` and `nlmsg_pid` later, so that the length of the message is that of its buffer.

use std::fmt::{self, Display};

use clap::ValueEnum;
use zerocopy::native_endian::{I32, U16, U32};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::family::{
    OVS_CT_LIMIT_ATTR_NAMES, OVS_DP_ATTR_NAME, OVS_DP_ATTR_NAMES, OVS_METER_ATTR_NAMES,
    OVS_VPORT_ATTR_NAME, OVS_VPORT_ATTR_NAMES, OVS_VPORT_ATTR_PORT_NO, is_dump,
};
use super::flow_key::{Attribute, Attributes, Stop, attributes_at};
use super::packet::Link;
use crate::show::number::number;

numbered! {
    /// Names of `enum ovs_flow_attr`.
    OVS_FLOW_ATTR_NAMES:
    OVS_FLOW_ATTR_UNSPEC = 0,
    OVS_FLOW_ATTR_KEY = 1,
    OVS_FLOW_ATTR_ACTIONS = 2,
    OVS_FLOW_ATTR_STATS = 3,
    OVS_FLOW_ATTR_TCP_FLAGS = 4,
    OVS_FLOW_ATTR_USED = 5,
    OVS_FLOW_ATTR_CLEAR = 6,
    OVS_FLOW_ATTR_MASK = 7,
    OVS_FLOW_ATTR_PROBE = 8,
    OVS_FLOW_ATTR_UFID = 9,
    OVS_FLOW_ATTR_UFID_FLAGS = 10,
    OVS_FLOW_ATTR_PAD = 11,
}

numbered! {
    /// Names of `enum ovs_packet_attr`.
    OVS_PACKET_ATTR_NAMES:
    OVS_PACKET_ATTR_UNSPEC = 0,
    OVS_PACKET_ATTR_PACKET = 1,
    OVS_PACKET_ATTR_KEY = 2,
    OVS_PACKET_ATTR_ACTIONS = 3,
    OVS_PACKET_ATTR_USERDATA = 4,
    OVS_PACKET_ATTR_EGRESS_TUN_KEY = 5,
    OVS_PACKET_ATTR_UNUSED1 = 6,
    OVS_PACKET_ATTR_UNUSED2 = 7,
    OVS_PACKET_ATTR_PROBE = 8,
    OVS_PACKET_ATTR_MRU = 9,
    OVS_PACKET_ATTR_LEN = 10,
    OVS_PACKET_ATTR_HASH = 11,
    OVS_PACKET_ATTR_UPCALL_PID = 12,
}

/// The kernel's name of a type of `OVS_PACKET_ATTR_*`.
pub(super) fn packet_attr_name(kind: u16) -> Option<&'static str> {
    OVS_PACKET_ATTR_NAMES.get(usize::from(kind)).copied()
}

/// Length of the payload of an `OVS_PACKET_ATTR_*` that may have no other, in bytes.
pub(super) fn packet_attr_len(kind: u16) -> Option<usize> {
    Some(match kind {
        OVS_PACKET_ATTR_PROBE => 0,
        OVS_PACKET_ATTR_MRU => 2,
        OVS_PACKET_ATTR_LEN | OVS_PACKET_ATTR_UPCALL_PID => 4,
        OVS_PACKET_ATTR_HASH => 8,
        _ => return None,
    })
}

/// Attributes that a request may have.
const KINDS: usize = 13;

// `enum ovs_flow_cmd` and `enum ovs_packet_cmd`.
pub const OVS_FLOW_CMD_NEW: u8 = 1;
pub const OVS_FLOW_CMD_DEL: u8 = 2;
pub const OVS_FLOW_CMD_GET: u8 = 3;
pub const OVS_FLOW_CMD_SET: u8 = 4;
pub const OVS_PACKET_CMD_EXECUTE: u8 = 3;

// `linux/netlink.h`.
pub const NLM_F_EXCL: u16 = 0x200;
pub const NLM_F_CREATE: u16 = 0x400;

// Bits of `OVS_FLOW_ATTR_UFID_FLAGS`: what a reply need not have.
pub const OVS_UFID_F_OMIT_KEY: u32 = 1 << 0;
pub const OVS_UFID_F_OMIT_MASK: u32 = 1 << 1;
pub const OVS_UFID_F_OMIT_ACTIONS: u32 = 1 << 2;

/// What a request is for. The probe says so, or [`Family::operation`](super::family::Family::operation); the message
/// itself does not, for `genlmsghdr.cmd` has the same numbers for flows and for packets, and the kernel gives the families
/// their numbers as it loads them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, ValueEnum)]
pub enum Operation {
    /// Create or modify a flow
    Put,
    /// Delete a flow
    Del,
    /// Look a flow up
    Get,
    /// Execute actions on a packet
    Execute,
    /// Dump all flows
    Dump,
    /// Requests about datapaths
    Datapath,
    /// Requests about ports
    Vport,
    /// Requests about meters
    Meter,
    /// Requests about limits of connections
    CtLimit,
}

impl Operation {
    /// The end of the name of its probe, if it has one.
    pub fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Del => "del",
            Self::Get => "get",
            Self::Execute => "execute",
            Self::Dump => "dump",
            Self::Datapath => "datapath",
            Self::Vport => "vport",
            Self::Meter => "meter",
            Self::CtLimit => "ct-limit",
        }
    }
}

/// What the kernel is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Command {
    /// To install a flow that is not there yet: `OVS_FLOW_CMD_NEW` with `NLM_F_CREATE` or `NLM_F_EXCL`.
    Create,
    /// To install a flow or to change the one that is there: `OVS_FLOW_CMD_NEW` without these flags.
    CreateOrModify,
    /// To change a flow that is there: `OVS_FLOW_CMD_SET`.
    Modify,
    Delete,
    Get,
    Execute,
    /// To get all flows, datapaths or ports.
    Dump,
    /// To make what is no flow: a datapath or a port.
    New,
    /// To change what is no flow.
    Set,
    /// To say what meters can do.
    Features,
}

impl Command {
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::CreateOrModify => "create-or-modify",
            Self::Modify => "modify",
            Self::Delete => "delete",
            Self::Get => "get",
            Self::Execute => "execute",
            Self::Dump => "dump",
            Self::New => "new",
            Self::Set => "set",
            Self::Features => "features",
        }
    }
}

/// The three headers of a message, 24 bytes. At the probes some fields are still 0, as noted.
#[derive(Debug, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Headers {
    /// 0 at the probes.
    pub nlmsg_len: U32,
    /// Number of the generic netlink family.
    pub nlmsg_type: U16,
    /// `NLM_F_*`.
    pub nlmsg_flags: U16,
    /// 0 at the probes.
    pub nlmsg_seq: U32,
    /// 0 at the probes.
    pub nlmsg_pid: U32,
    /// `OVS_FLOW_CMD_*`, `OVS_PACKET_CMD_*` and so on.
    pub cmd: u8,
    pub version: u8,
    pub reserved: U16,
    /// Number of the datapath: the interface index of its local port.
    pub dp_ifindex: I32,
}

/// A request, as far as its bytes are there.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    pub operation: Operation,
    pub headers: &'a Headers,
    run: &'a [u8],
    /// How many bytes it has, headers and all; they need not all be there.
    len: usize,
    /// By type. Of two of one type, the last one counts, as in the kernel.
    parts: [Option<Attribute<'a>>; KINDS],
}

/// Bytes that are too few for the headers of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a request of {} is shorter than its headers of {HEADERS_LEN}", number(*.0 as u64, "bytes"))]
pub struct TooShort(pub usize);

/// Length of the headers in bytes; at this offset the attributes begin.
pub const HEADERS_LEN: usize = size_of::<Headers>();

impl<'a> Request<'a> {
    /// Reads a request, which may be cut at any byte behind its headers. Offsets of attributes count from its start.
    ///
    /// # Errors
    ///
    /// If there are too few bytes for the headers.
    pub fn parse(operation: Operation, bytes: &'a [u8]) -> Result<Self, TooShort> {
        Self::parse_beginning(operation, bytes, bytes.len())
    }

    /// The same of the beginning of a request that has `len` bytes.
    ///
    /// # Errors
    ///
    /// If the headers are not there as a whole.
    pub fn parse_beginning(
        operation: Operation,
        bytes: &'a [u8],
        len: usize,
    ) -> Result<Self, TooShort> {
        let (headers, run) = Headers::ref_from_prefix(bytes).map_err(|_| TooShort(bytes.len()))?;
        let mut parts = [None; KINDS];
        for attribute in attributes_at(run, HEADERS_LEN) {
            if let Some(part) = parts.get_mut(usize::from(attribute.kind)) {
                *part = Some(attribute);
            }
        }
        Ok(Request {
            operation,
            headers,
            run,
            len,
            parts,
        })
    }

    /// All attributes, in their order.
    pub fn attributes(&self) -> Attributes<'a> {
        attributes_at(self.run, HEADERS_LEN)
    }

    /// The kernel's name of a type of attribute, for example `OVS_FLOW_ATTR_KEY`.
    pub fn name(&self, kind: u16) -> Option<&'static str> {
        let names = match self.operation {
            Operation::Put | Operation::Del | Operation::Get | Operation::Dump => {
                OVS_FLOW_ATTR_NAMES
            }
            Operation::Execute => return packet_attr_name(kind),
            Operation::Datapath => OVS_DP_ATTR_NAMES,
            Operation::Vport => OVS_VPORT_ATTR_NAMES,
            Operation::Meter => OVS_METER_ATTR_NAMES,
            Operation::CtLimit => OVS_CT_LIMIT_ATTR_NAMES,
        };
        names.get(usize::from(kind)).copied()
    }

    /// What the kernel is asked to do; `None` if the command is not known to be one of the operation.
    pub fn command(&self) -> Option<Command> {
        let flags = self.headers.nlmsg_flags.get();
        match (self.operation, self.headers.cmd) {
            (Operation::Put, OVS_FLOW_CMD_NEW) if flags & (NLM_F_CREATE | NLM_F_EXCL) != 0 => {
                Some(Command::Create)
            }
            (Operation::Put, OVS_FLOW_CMD_NEW) => Some(Command::CreateOrModify),
            (Operation::Put, OVS_FLOW_CMD_SET) => Some(Command::Modify),
            (Operation::Del, OVS_FLOW_CMD_DEL) => Some(Command::Delete),
            (Operation::Get, OVS_FLOW_CMD_GET) => Some(Command::Get),
            (Operation::Execute, OVS_PACKET_CMD_EXECUTE) => Some(Command::Execute),
            (Operation::Dump, OVS_FLOW_CMD_GET) => Some(Command::Dump),
            // `enum ovs_datapath_cmd` and `enum ovs_vport_cmd`.
            (Operation::Datapath | Operation::Vport, 1) => Some(Command::New),
            (Operation::Datapath | Operation::Vport, 2) => Some(Command::Delete),
            (Operation::Datapath | Operation::Vport, 3) if is_dump(flags) => Some(Command::Dump),
            (Operation::Datapath | Operation::Vport, 3) => Some(Command::Get),
            (Operation::Datapath | Operation::Vport, 4) => Some(Command::Set),
            // `enum ovs_meter_cmd`.
            (Operation::Meter, 1) => Some(Command::Features),
            (Operation::Meter, 2) => Some(Command::Set),
            (Operation::Meter, 3) => Some(Command::Delete),
            (Operation::Meter, 4) => Some(Command::Get),
            // `enum ovs_ct_limit_cmd`.
            (Operation::CtLimit, 1) => Some(Command::Set),
            (Operation::CtLimit, 2) => Some(Command::Delete),
            (Operation::CtLimit, 3) => Some(Command::Get),
            _ => None,
        }
    }

    /// The flow key, a run of `OVS_KEY_ATTR_*`. Of an execute it has metadata only.
    pub fn key(&self) -> Option<Attribute<'a>> {
        self.either(OVS_FLOW_ATTR_KEY, OVS_PACKET_ATTR_KEY)
    }

    /// The key's mask, a run of `OVS_KEY_ATTR_*`. Without one, every bit matters.
    pub fn mask(&self) -> Option<Attribute<'a>> {
        self.flow(OVS_FLOW_ATTR_MASK)
    }

    /// A run of `OVS_ACTION_ATTR_*`; see [`actions::odp`](super::actions::odp).
    pub fn actions(&self) -> Option<Attribute<'a>> {
        self.either(OVS_FLOW_ATTR_ACTIONS, OVS_PACKET_ATTR_ACTIONS)
    }

    /// The flow's unique identifier.
    pub fn ufid(&self) -> Option<Ufid> {
        self.fixed(self.flow(OVS_FLOW_ATTR_UFID)).map(Ufid)
    }

    /// `OVS_UFID_F_*`.
    pub fn ufid_flags(&self) -> Option<u32> {
        self.fixed(self.flow(OVS_FLOW_ATTR_UFID_FLAGS))
            .map(u32::from_ne_bytes)
    }

    /// Whether the daemon only tries what the datapath can do.
    pub fn is_probe(&self) -> bool {
        self.either(OVS_FLOW_ATTR_PROBE, OVS_PACKET_ATTR_PROBE)
            .is_some()
    }

    /// Whether the flow's statistics shall begin anew.
    pub fn clears_stats(&self) -> bool {
        self.flow(OVS_FLOW_ATTR_CLEAR).is_some()
    }

    /// The flow's packets and bytes (`struct ovs_flow_stats`).
    pub fn stats(&self) -> Option<(u64, u64)> {
        let stats: [u8; 16] = self.fixed(self.flow(OVS_FLOW_ATTR_STATS))?;
        let (packets, bytes) = stats.split_first_chunk()?;
        let bytes = bytes.try_into().ok()?;
        Some((u64::from_ne_bytes(*packets), u64::from_ne_bytes(bytes)))
    }

    /// The packet; [`packet_link`](Self::packet_link) says what it begins with.
    pub fn packet(&self) -> Option<Attribute<'a>> {
        self.packet_attribute(OVS_PACKET_ATTR_PACKET)
    }

    /// What its packet begins with.
    pub fn packet_link(&self) -> Link {
        let key = self.packet_attribute(OVS_PACKET_ATTR_KEY);
        key.map_or(Link::Unknown, |key| Link::of_metadata(&key))
    }

    /// The size of the largest fragment as which the packet came, in bytes.
    pub fn mru(&self) -> Option<u16> {
        self.fixed(self.packet_attribute(OVS_PACKET_ATTR_MRU))
            .map(u16::from_ne_bytes)
    }

    /// The packet's hash, as its upcall had it.
    pub fn hash(&self) -> Option<u64> {
        self.fixed(self.packet_attribute(OVS_PACKET_ATTR_HASH))
            .map(u64::from_ne_bytes)
    }

    /// The netlink socket that shall get the upcalls of the packet (Open vSwitch 3.6 and later).
    pub fn upcall_pid(&self) -> Option<u32> {
        self.fixed(self.packet_attribute(OVS_PACKET_ATTR_UPCALL_PID))
            .map(u32::from_ne_bytes)
    }

    /// The name of the datapath or of the port that it is about, without the NUL at its end.
    pub fn object_name(&self) -> Option<&'a [u8]> {
        let kind = match self.operation {
            Operation::Datapath => OVS_DP_ATTR_NAME,
            Operation::Vport => OVS_VPORT_ATTR_NAME,
            _ => return None,
        };
        let name = self.part(kind)?.payload;
        Some(name.strip_suffix(b"\0").unwrap_or(name))
    }

    /// The number of the port that it is about.
    pub fn port_number(&self) -> Option<u32> {
        let port = self.part(OVS_VPORT_ATTR_PORT_NO);
        let port = port.filter(|_| self.operation == Operation::Vport);
        self.fixed(port).map(u32::from_ne_bytes)
    }

    /// What is wrong with the request, or not known in it.
    pub fn problems(&self) -> impl Iterator<Item = Problem> + use<'a> {
        let request = self.clone();
        let cmd = self.headers.cmd;
        let bad_command = self.command().is_none().then_some(Problem::Command { cmd });
        let mut run = self.attributes();
        run.by_ref().for_each(drop);
        let end = HEADERS_LEN + self.run.len();
        let cut = (end < self.len).then_some(Problem::Cut {
            at: end,
            len: self.len,
        });
        // Where an attribute is cut, that says it.
        let stopped = run.stopped().map(Problem::Stopped).or(cut);
        let attributes = self.attributes();
        let attributes = attributes.filter_map(move |attribute| request.problem(&attribute));
        bad_command.into_iter().chain(attributes).chain(stopped)
    }

    fn problem(&self, attribute: &Attribute<'a>) -> Option<Problem> {
        let Attribute { at, kind, .. } = *attribute;
        let Some(name) = self.name(kind) else {
            return Some(Problem::Unknown { at, kind });
        };
        let expected = self.expected_len(kind);
        let have = attribute.payload_len();
        if let Some(expected) = expected.filter(|expected| *expected != have) {
            return Some(Problem::Length {
                at,
                name,
                have,
                expected,
            });
        }
        let last = self.part(kind);
        let repeated = last.is_some_and(|last| last.at != at);
        repeated.then_some(Problem::Repeated { at, name })
    }

    /// Length of a payload that may have no other, in bytes.
    fn expected_len(&self, kind: u16) -> Option<usize> {
        if self.is_packet() {
            return packet_attr_len(kind);
        }
        if !self.is_flow() {
            return None;
        }
        Some(match kind {
            OVS_FLOW_ATTR_CLEAR | OVS_FLOW_ATTR_PROBE => 0,
            OVS_FLOW_ATTR_TCP_FLAGS => 1,
            OVS_FLOW_ATTR_UFID_FLAGS => 4,
            OVS_FLOW_ATTR_USED => 8,
            OVS_FLOW_ATTR_STATS | OVS_FLOW_ATTR_UFID => 16,
            _ => return None,
        })
    }

    /// Whether its attributes are `OVS_PACKET_ATTR_*`.
    fn is_packet(&self) -> bool {
        self.operation == Operation::Execute
    }

    /// Whether its attributes are `OVS_FLOW_ATTR_*`.
    fn is_flow(&self) -> bool {
        use Operation::{Del, Dump, Get, Put};
        matches!(self.operation, Put | Del | Get | Dump)
    }

    /// The last attribute of this type, whatever its family calls it.
    fn part(&self, kind: u16) -> Option<Attribute<'a>> {
        self.parts.get(usize::from(kind)).copied().flatten()
    }

    fn flow(&self, kind: u16) -> Option<Attribute<'a>> {
        self.part(kind).filter(|_| self.is_flow())
    }

    fn packet_attribute(&self, kind: u16) -> Option<Attribute<'a>> {
        self.part(kind).filter(|_| self.is_packet())
    }

    /// The attributes that are a run of `OVS_KEY_ATTR_*`, by their type.
    pub(super) fn keys(&self) -> &'static [u16] {
        match self.operation {
            Operation::Execute => &[OVS_PACKET_ATTR_KEY],
            _ if self.is_flow() => &[OVS_FLOW_ATTR_KEY, OVS_FLOW_ATTR_MASK],
            _ => &[],
        }
    }

    fn either(&self, flow: u16, packet: u16) -> Option<Attribute<'a>> {
        self.flow(flow).or_else(|| self.packet_attribute(packet))
    }

    /// The payload of an attribute that has a fixed length, if it is there as a whole.
    fn fixed<const N: usize>(&self, attribute: Option<Attribute<'a>>) -> Option<[u8; N]> {
        attribute?.payload.try_into().ok()
    }
}

/// The unique identifier of a flow, a hash of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ufid(pub [u8; 16]);

/// As `ovs-dpctl dump-flows -m` shows it behind `ufid:`: `0d1a2b3c-4d5e-6f70-8192-a3b4c5d6e7f8`.
impl Display for Ufid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d] = self.words();
        let (b1, b2, c1, c2) = (b >> 16, b & 0xffff, c >> 16, c & 0xffff);
        write!(f, "{a:08x}-{b1:04x}-{b2:04x}-{c1:04x}-{c2:04x}{d:08x}")
    }
}

impl Ufid {
    /// The four numbers that it is in the daemon's memory.
    fn words(&self) -> [u32; 4] {
        let mut words = [0; 4];
        for (word, bytes) in words.iter_mut().zip(self.0.as_chunks().0) {
            *word = u32::from_ne_bytes(*bytes);
        }
        words
    }
}

/// Something that is wrong with a request, or not known. Offsets are in bytes from its start, lengths in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The operation has no command that is known to have this number.
    Command { cmd: u8 },
    /// The type of the attribute at offset `at` is not known.
    Unknown { at: usize, kind: u16 },
    /// The payload of the attribute at offset `at` does not have the length that it must have.
    Length {
        at: usize,
        name: &'static str,
        have: usize,
        expected: usize,
    },
    /// The attribute at offset `at` does not count, because another of its type follows.
    Repeated { at: usize, name: &'static str },
    /// The attributes end early.
    Stopped(Stop),
    /// The request is cut at offset `at`, between two attributes.
    Cut { at: usize, len: usize },
}

impl Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Command { cmd } => write!(f, "unknown command {cmd}"),
            Problem::Unknown { at, kind } => write!(f, "unknown attribute {kind} at byte {at}"),
            Problem::Length {
                at,
                name,
                have,
                expected,
            } => {
                let have = number(*have as u64, "bytes");
                write!(f, "{name} at byte {at} has {have}, not {expected}")
            }
            Problem::Repeated { at, name } => {
                write!(f, "{name} at byte {at} is followed by another")
            }
            Problem::Cut { at, len } => write!(f, "cut at byte {at} of {len}"),
            Problem::Stopped(Stop::Header { at, left }) => {
                write!(f, "cut at byte {at}: {left} of 4 header bytes")
            }
            Problem::Stopped(Stop::Short { at, len }) => {
                write!(f, "nla_len {len} < 4 at byte {at}")
            }
            Problem::Stopped(Stop::Cut { at, len, left }) => {
                let (have, len) = (left.saturating_sub(4), len.saturating_sub(4));
                write!(f, "cut at byte {at}: {have} of {len} bytes")
            }
        }
    }
}
