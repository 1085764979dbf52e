//! One upcall, as the kernel delivers or a recording keeps it.

use crate::ovs::flow_key;
use crate::ovs::packet::Link;
use crate::ovs::upcall_attributes::UpcallAttributes;
use crate::trace::captured::Captured;

/// One upcall: one that ovs-vswitchd received, which is the arguments of `dpif_recv:recv_upcall` (`lib/dpif.c` of Open
/// vSwitch), or one that failed in the kernel before (`ovs_dp_upcall()`, `net/openvswitch/datapath.c` of Linux).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Upcall<'a> {
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub time: u64,
    pub cpu: u32,
    /// Which of the traced daemons it was for, from 0 on.
    pub target: u32,
    /// Process and thread that received the upcall, or that ran when it failed: that one may have nothing to do with
    /// it.
    pub pid: u32,
    pub tid: u32,
    /// Name of the thread, at most 15 bytes, without the terminating NUL.
    pub comm: &'a [u8],
    /// `dpif->full_name`, for example `system@ovs-system`; empty if it is not known.
    pub datapath: &'a [u8],
    /// Number of the datapath, with which its message came; only the kernel as the source knows it.
    pub dp_ifindex: Option<u32>,
    /// `enum dpif_upcall_type`: 0 is a flow miss, 1 an action.
    pub kind: u32,
    /// 0, or the negative errno with which it failed in the kernel.
    pub result: i32,
    /// The packet; [`Upcall::link`] says what it begins with.
    pub packet: Captured<'a>,
    /// How many bytes at the end of the packet the kernel had in pages, which are not captured: of an upcall that failed,
    /// or with the kernel as the source where neither the tracepoint nor the daemon's buffer can be read.
    pub paged: u32,
    /// The flow key: a run of `OVS_KEY_ATTR_*` netlink attributes (`linux/openvswitch.h`). An upcall that failed has
    /// none.
    pub key: Captured<'a>,
    /// The other attributes of its message, a run of `OVS_PACKET_ATTR_*` netlink attributes (`linux/openvswitch.h`); only
    /// the kernel as the source knows them.
    pub attributes: Option<&'a [u8]>,
    /// Where an upcall came from that failed; one that was received has it in its key.
    pub failed_from: Option<FailedFrom<'a>>,
    /// How many bytes of the record that it was read from it uses.
    pub record_len: usize,
}

/// Where the packet of a failed upcall came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailedFrom<'a> {
    /// The device, `eth0` for example; empty if the packet came from no device.
    pub device: &'a [u8],
    /// Number of the port, if it is known in the kernel.
    pub port: Option<u32>,
    /// EtherType of the innermost frame; 0 if it is not known in the kernel.
    pub eth_type: u16,
    /// What the packet begins with; unknown in recordings from before this was recorded.
    pub link: Link,
    /// Protocol and addresses of IP or ARP, as in [`Flow`](crate::upcall::flows::Flow).
    pub proto: u8,
    pub src: [u8; 16],
    pub dst: [u8; 16],
}

impl<'a> Upcall<'a> {
    /// What its message has besides key and packet.
    pub fn other_attributes(&self) -> Option<UpcallAttributes<'a>> {
        let run = self.attributes?;
        Some(UpcallAttributes::new(run, run.len()))
    }

    /// What its packet begins with.
    pub fn link(&self) -> Link {
        match self.failed_from {
            Some(from) => from.link,
            None => Link::of_key(self.key.bytes),
        }
    }

    /// Number of the port by which the packet came in.
    pub fn in_port(&self) -> Option<u32> {
        match self.failed_from {
            Some(from) => from.port,
            None => flow_key::in_port(self.key.bytes),
        }
    }
}
