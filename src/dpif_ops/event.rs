//! One operation, as the kernel delivers or a recording keeps it.

use crate::bpf::dpif_ops::types::{bss, dpif_op, dpif_op_record};
use crate::bpf::record::read;
use crate::c_str;
use crate::ovs::flow_request::Operation;
use crate::run::loss::{ARGUMENTS_UNREADABLE, LARGER_RING, RING_FULL, Reason};
use crate::run::recording::Records;
use crate::trace::captured::Captured;

/// The records of dpif-ops: `struct dpif_op_record` (`bpf/dpif_ops.h`).
pub const RECORDS: Records = Records {
    tool: "dpif-ops",
    version: 1,
    upgrade: |_, record, to| to.extend_from_slice(record),
};

/// Why an operation was not delivered: `enum dpif_ops_lost` of `bpf/dpif_ops.h`, in its order.
pub const LOST: &[Reason] = &[
    Reason {
        what: "operations",
        why: RING_FULL,
        hint: LARGER_RING,
    },
    Reason {
        what: "operations",
        why: ARGUMENTS_UNREADABLE,
        hint: "",
    },
];
const _: fn(&bss) -> &[u64; LOST.len()] = |bss| &bss.lost;

const HEADER: usize = size_of::<dpif_op_record>();
/// Whoever changes `struct dpif_op_record` changes the version of [`RECORDS`] too.
const _: () = assert!(HEADER == 56);

/// One operation of ovs-vswitchd: the probe `dpif_netlink_operate__:op_flow_*` that fired, and the request that it passes.
#[derive(Clone, Copy, Debug)]
pub struct Op<'a> {
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub time: u64,
    pub cpu: u32,
    pub pid: u32,
    pub tid: u32,
    /// Name of the thread, at most 15 bytes.
    pub comm: &'a [u8],
    pub operation: Operation,
    /// The netlink message, from its `struct nlmsghdr` on.
    pub request: Captured<'a>,
    /// How many bytes of the record it uses.
    pub record_len: usize,
}

impl<'a> Op<'a> {
    /// Reads a `struct dpif_op_record`; none if the bytes do not make one. The ring hands out more bytes than the record
    /// uses.
    pub fn from_record(record: &'a [u8]) -> Option<Self> {
        let (header, data) = read::<dpif_op_record>(record)?;
        let bytes = data.get(..usize::try_from(header.len).ok()?)?;
        let head = &header.head;
        let operation = match dpif_op(head.kind.into()) {
            dpif_op::OP_FLOW_PUT => Operation::Put,
            dpif_op::OP_FLOW_DEL => Operation::Del,
            dpif_op::OP_FLOW_GET => Operation::Get,
            dpif_op::OP_FLOW_EXECUTE => Operation::Execute,
            _ => return None,
        };
        Some(Self {
            time: head.time,
            cpu: head.cpu,
            pid: head.pid,
            tid: head.tid,
            comm: c_str!(record, dpif_op_record, head.comm),
            operation,
            request: Captured {
                len: header.size,
                bytes,
                error: (header.error != 0).then_some(header.error.wrapping_neg()),
            },
            record_len: HEADER + bytes.len(),
        })
    }
}
