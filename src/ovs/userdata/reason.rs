//! Why ovs-vswitchd gets a packet from an action.

use std::fmt::{self, Display};

use crate::ovs::flow_key::odp::Flag;
use crate::ovs::flow_key::odp::fields::flags;

/// `enum slow_path_reason` (`lib/odp-util.h` of Open vSwitch 2.9 to 4.0; `match` since 2.10).
static SLOW_PATH_REASONS: [Flag; 7] = [
    (0x01, "cfm"),
    (0x02, "bfd"),
    (0x04, "lacp"),
    (0x08, "stp"),
    (0x10, "lldp"),
    (0x20, "action"),
    (0x40, "match"),
];

/// The same of Open vSwitch 2.4 to 2.8.
static SLOW_PATH_REASONS_2_4: [Flag; 7] = [
    (0x01, "cfm"),
    (0x02, "bfd"),
    (0x04, "lacp"),
    (0x08, "stp"),
    (0x10, "lldp"),
    (0x20, "controller"),
    (0x40, "action"),
];

/// `enum ofp_packet_in_reason` (`include/openflow/openflow-common.h` of Open vSwitch 2.9 to 4.0). The names are those of
/// `ofputil_packet_in_reason_to_string()` (`lib/ofp-packet.c`). It has none for the last two: a table-miss flow
/// matched, or no flow did.
static PACKET_IN_REASONS: [&str; 8] = [
    "no_match",
    "action",
    "invalid_ttl",
    "action_set",
    "group",
    "packet_out",
    "explicit_miss",
    "implicit_miss",
];

/// Why ovs-vswitchd gets a packet from an action, short: `slow_path(lacp)`, `controller(action)`, `unknown`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The bridge samples packets for sFlow.
    Sflow,
    /// The daemon must handle the packets of this flow itself.
    SlowPath(SlowPath),
    /// A flow samples its packets.
    FlowSample,
    /// The bridge samples packets for IPFIX.
    Ipfix,
    /// The packet goes to an OpenFlow controller, for this reason (`enum ofp_packet_in_reason`).
    Controller(u16),
    /// The length or the type of the userdata is not known.
    Unknown,
}

impl Reason {
    /// The reason without what is in its brackets.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sflow => "sflow",
            Self::SlowPath(_) => "slow_path",
            Self::FlowSample => "flow_sample",
            Self::Ipfix => "ipfix",
            Self::Controller(_) => "controller",
            Self::Unknown => "unknown",
        }
    }
}

/// Bits and reasons without a name are numbers: `slow_path(lacp,0x100)`, `controller(9)`.
impl Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::SlowPath(reasons) => write!(f, "({reasons})"),
            Self::Controller(reason) => match packet_in_reason(*reason) {
                Some(name) => write!(f, "({name})"),
                None => write!(f, "({reason})"),
            },
            _ => Ok(()),
        }
    }
}

/// OpenFlow's name of the reason for which a controller gets a packet.
pub fn packet_in_reason(reason: u16) -> Option<&'static str> {
    PACKET_IN_REASONS.get(usize::from(reason)).copied()
}

/// The reasons for which the daemon handles the packets of a flow itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlowPath {
    bits: u32,
    names: &'static [Flag],
}

impl SlowPath {
    /// Those of Open vSwitch 2.9 and later.
    pub(super) fn new(bits: u32) -> Self {
        SlowPath {
            bits,
            names: &SLOW_PATH_REASONS,
        }
    }

    /// Those of Open vSwitch 2.4 to 2.8.
    pub(super) fn new_2_4(bits: u32) -> Self {
        SlowPath {
            bits,
            names: &SLOW_PATH_REASONS_2_4,
        }
    }

    pub fn bits(self) -> u32 {
        self.bits
    }

    /// The bits that have names, and these.
    pub fn names(self) -> impl Iterator<Item = (u64, &'static str)> {
        let names = self.names.iter();
        names.map(|(bit, name)| (u64::from(*bit), *name))
    }
}

impl Display for SlowPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        flags(f, self.bits, self.names, ",")
    }
}
