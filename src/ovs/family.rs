//! The families of generic netlink by which the kernel's datapath is asked, and what each of their messages is for.
//!
//! Numbers are those of `include/uapi/linux/openvswitch.h` of Linux 6.12.

use std::ffi::CStr;

use super::flow_request::{
    OVS_FLOW_CMD_DEL, OVS_FLOW_CMD_GET, OVS_FLOW_CMD_NEW, OVS_FLOW_CMD_SET, OVS_PACKET_CMD_EXECUTE,
    Operation,
};

numbered! {
    /// Names of `enum ovs_datapath_attr`.
    OVS_DP_ATTR_NAMES:
    OVS_DP_ATTR_UNSPEC = 0,
    OVS_DP_ATTR_NAME = 1,
    OVS_DP_ATTR_UPCALL_PID = 2,
    OVS_DP_ATTR_STATS = 3,
    OVS_DP_ATTR_MEGAFLOW_STATS = 4,
    OVS_DP_ATTR_USER_FEATURES = 5,
    OVS_DP_ATTR_PAD = 6,
    OVS_DP_ATTR_MASKS_CACHE_SIZE = 7,
    OVS_DP_ATTR_PER_CPU_PIDS = 8,
    OVS_DP_ATTR_IFINDEX = 9,
}

numbered! {
    /// Names of `enum ovs_vport_attr`.
    OVS_VPORT_ATTR_NAMES:
    OVS_VPORT_ATTR_UNSPEC = 0,
    OVS_VPORT_ATTR_PORT_NO = 1,
    OVS_VPORT_ATTR_TYPE = 2,
    OVS_VPORT_ATTR_NAME = 3,
    OVS_VPORT_ATTR_OPTIONS = 4,
    OVS_VPORT_ATTR_UPCALL_PID = 5,
    OVS_VPORT_ATTR_STATS = 6,
    OVS_VPORT_ATTR_PAD = 7,
    OVS_VPORT_ATTR_IFINDEX = 8,
    OVS_VPORT_ATTR_NETNSID = 9,
    OVS_VPORT_ATTR_UPCALL_STATS = 10,
}

numbered! {
    /// Names of `enum ovs_meter_attr`.
    OVS_METER_ATTR_NAMES:
    OVS_METER_ATTR_UNSPEC = 0,
    OVS_METER_ATTR_ID = 1,
    OVS_METER_ATTR_KBPS = 2,
    OVS_METER_ATTR_STATS = 3,
    OVS_METER_ATTR_BANDS = 4,
    OVS_METER_ATTR_USED = 5,
    OVS_METER_ATTR_CLEAR = 6,
    OVS_METER_ATTR_MAX_METERS = 7,
    OVS_METER_ATTR_MAX_BANDS = 8,
    OVS_METER_ATTR_PAD = 9,
}

numbered! {
    /// Names of `enum ovs_ct_limit_attr`.
    OVS_CT_LIMIT_ATTR_NAMES:
    OVS_CT_LIMIT_ATTR_UNSPEC = 0,
    OVS_CT_LIMIT_ATTR_ZONE_LIMIT = 1,
}

/// `NLM_F_DUMP` (`linux/netlink.h`).
const NLM_F_DUMP: u16 = 0x300;

/// A family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Flow,
    Packet,
    Datapath,
    Vport,
    Meter,
    CtLimit,
}

impl Family {
    /// In the order of `enum dpif_family` (`bpf/dpif_ops.h`).
    pub const ALL: [Self; 6] = [
        Self::Flow,
        Self::Packet,
        Self::Datapath,
        Self::Vport,
        Self::Meter,
        Self::CtLimit,
    ];

    pub fn name(self) -> &'static CStr {
        match self {
            Self::Flow => c"ovs_flow",
            Self::Packet => c"ovs_packet",
            Self::Datapath => c"ovs_datapath",
            Self::Vport => c"ovs_vport",
            Self::Meter => c"ovs_meter",
            Self::CtLimit => c"ovs_ct_limit",
        }
    }

    /// What a message of the family is for; `None` if the family has no such command.
    pub fn operation(self, command: u8, flags: u16) -> Option<Operation> {
        Some(match (self, command) {
            (Self::Flow, OVS_FLOW_CMD_NEW | OVS_FLOW_CMD_SET) => Operation::Put,
            (Self::Flow, OVS_FLOW_CMD_DEL) => Operation::Del,
            (Self::Flow, OVS_FLOW_CMD_GET) if is_dump(flags) => Operation::Dump,
            (Self::Flow, OVS_FLOW_CMD_GET) => Operation::Get,
            (Self::Packet, OVS_PACKET_CMD_EXECUTE) => Operation::Execute,
            (Self::Datapath, 1..=4) => Operation::Datapath,
            (Self::Vport, 1..=4) => Operation::Vport,
            (Self::Meter, 1..=4) => Operation::Meter,
            (Self::CtLimit, 1..=3) => Operation::CtLimit,
            _ => return None,
        })
    }

    /// The commands whose operation is `wanted`: bit n for command n, bit 16 + n for a dump by it. A command that is
    /// not known is among them.
    pub fn commands(self, wanted: impl Fn(Operation) -> bool) -> u32 {
        let is_wanted = |bit: &u32| {
            let flags = if *bit < 16 { 0 } else { NLM_F_DUMP };
            self.operation((bit % 16) as u8, flags).is_none_or(&wanted)
        };
        (0..32)
            .filter(is_wanted)
            .fold(0, |bits, bit| bits | 1 << bit)
    }
}

/// Whether the flags of a request that gets something say that it gets all of them.
pub fn is_dump(flags: u16) -> bool {
    flags & NLM_F_DUMP == NLM_F_DUMP
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that a command is wanted with its operation only, that a dump is another one, and that what is not known is
    /// wanted.
    #[test]
    fn commands() {
        let known = |family: Family, wanted| family.commands(|operation| operation == wanted);
        let unknown = |family: Family| family.commands(|_| false);
        for family in Family::ALL {
            assert_eq!(family.commands(|_| true), u32::MAX);
        }
        // OVS_FLOW_CMD_NEW, _DEL, _GET and _SET, and a dump by _GET; a dump by another command is that command.
        let flow = Family::Flow;
        assert_eq!(unknown(flow), !0x1e_001e);
        for (operation, bits) in [
            (Operation::Put, 0x12_0012),
            (Operation::Del, 0x4_0004),
            (Operation::Get, 0x8),
            (Operation::Dump, 0x8_0000),
            (Operation::Execute, 0),
        ] {
            assert_eq!(
                known(flow, operation),
                unknown(flow) | bits,
                "{operation:?}"
            );
        }
        let packet = Family::Packet;
        assert_eq!(known(packet, Operation::Execute), u32::MAX);
        assert_eq!(known(packet, Operation::Put), !0x8_0008);
        assert_eq!(known(Family::Vport, Operation::Datapath), !0x1e_001e);
    }
}
