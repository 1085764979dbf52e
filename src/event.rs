//! What the tracers show: typed views of the records that the kernel delivers.

/// Bytes copied from the traced process, of which the kernel or a snap length may have cut the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Captured<'a> {
    /// Length in the traced process, in bytes.
    pub len: u32,
    /// What was copied: a prefix of the original; empty if it was not asked for or could not be read.
    pub bytes: &'a [u8],
    /// The errno with which reading the traced process's memory failed. `bytes` is empty then.
    pub error: Option<i32>,
}

/// One upcall that ovs-vswitchd received: the arguments of `dpif_recv:recv_upcall` (`lib/dpif.c` of Open vSwitch).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upcall<'a> {
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub time: u64,
    pub cpu: u32,
    /// Process and thread that received the upcall.
    pub pid: u32,
    pub tid: u32,
    /// Name of the thread, at most 15 bytes, without the terminating NUL.
    pub comm: &'a [u8],
    /// `dpif->full_name`, for example `system@ovs-system`.
    pub datapath: &'a [u8],
    /// `enum dpif_upcall_type`: 0 is a flow miss, 1 an action.
    pub kind: u32,
    /// 0, or a negative errno of the kernel's.
    pub result: i32,
    /// The packet, from its Ethernet header on.
    pub packet: Captured<'a>,
    /// The flow key: a run of `OVS_KEY_ATTR_*` netlink attributes (`linux/openvswitch.h`).
    pub key: Captured<'a>,
}
