//! One operation, as the kernel delivers or a recording keeps it.

use crate::bpf::dpif_ops::types::{bss, dpif_op_record};
use crate::bpf::record::{Head, read};
use crate::dpif_ops::probes::OPERATIONS;
use crate::ovs::flow_request::{Operation, Request, TooShort};
use crate::run::loss::{ARGUMENTS_UNREADABLE, LARGER_RING, RING_FULL, Reason, SKIPPED};
use crate::run::recording::Records;
use crate::trace::captured::Captured;

/// The records of dpif-ops: `struct dpif_op_record` (`bpf/dpif_ops.h`). Whoever changes it changes the version too.
pub const RECORDS: Records = Records {
    tool: "dpif-ops",
    version: 1,
    upgrade: |_, record, to| to.extend_from_slice(record),
};
const HEADER: usize = size_of::<dpif_op_record>();
const _: () = assert!(HEADER == 56);

/// Why an operation was not delivered: `enum dpif_ops_lost` of `bpf/dpif_ops.h`, in its order.
#[rustfmt::skip]
pub const LOST: &[Reason] = &[
    Reason { what: "operations", why: RING_FULL, hint: LARGER_RING },
    Reason { what: "operations", why: ARGUMENTS_UNREADABLE, hint: "" },
    Reason { what: "operations", why: SKIPPED, hint: "" },
];
const _: fn(&bss) -> &[u64; LOST.len()] = |bss| &bss.lost;

/// One operation of ovs-vswitchd: the probe `dpif_netlink_operate__:op_flow_*` that fired, and the request that it
/// passes.
#[derive(Clone, Debug)]
pub struct Op<'a> {
    pub head: Head<'a>,
    pub operation: Operation,
    /// The netlink message, from its `struct nlmsghdr` on.
    pub message: Captured<'a>,
    /// What the message says, if its headers are there.
    pub request: Result<Request<'a>, TooShort>,
    /// How many bytes of the record it uses.
    pub record_len: usize,
}

impl<'a> Op<'a> {
    /// Reads a `struct dpif_op_record`; `None` if the bytes do not make one. The ring hands out more bytes than the
    /// record uses.
    pub fn from_record(record: &'a [u8]) -> Option<Self> {
        let head = Head::read(record)?;
        let (header, data) = read::<dpif_op_record>(record)?;
        let bytes = data.get(..usize::try_from(header.len).ok()?)?;
        let mut operations = OPERATIONS.iter();
        let (_, operation, ..) = operations.find(|(op, ..)| op.0 == u32::from(head.kind))?;
        let error = (header.error != 0).then_some(header.error.wrapping_neg());
        // The programs copy no more than there is, and nothing of what they could not read.
        if header.len > header.size || (error.is_some() && !bytes.is_empty()) {
            return None;
        }
        Some(Self {
            head,
            operation: *operation,
            message: Captured {
                len: header.size,
                bytes,
                error,
            },
            request: Request::parse_beginning(*operation, bytes, header.size as usize),
            record_len: HEADER + bytes.len(),
        })
    }

    /// Number of the datapath; 0 if it is not known.
    pub fn dp_ifindex(&self) -> u32 {
        let Ok(request) = &self.request else {
            return 0;
        };
        u32::try_from(request.headers.dp_ifindex.get()).unwrap_or(0)
    }
}
