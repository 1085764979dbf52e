//! One operation, as the kernel delivers or a recording keeps it.

mod v1;

use crate::bpf::dpif_ops::types::{bss, dpif_family, dpif_messages, dpif_op, dpif_op_record};
use crate::bpf::record::{Head, read};
use crate::dpif_ops::probes::OPERATIONS;
use crate::ovs::family::{Family, is_dump};
use crate::ovs::flow_request::{Operation, Request, TooShort};
use crate::run::loss::{
    ARGUMENTS_UNREADABLE, END_NOT_SEEN, LARGER_RING, RING_FULL, Reason, SKIPPED,
};
use crate::run::recording::Records;
use crate::trace::captured::Captured;

/// The records of dpif-ops: `struct dpif_op_record` (`bpf/dpif_ops.h`). Whoever changes it changes the version too.
pub const RECORDS: Records = Records {
    tool: "dpif-ops",
    version: 2,
    upgrade: |_, record, to| v1::upgrade(record, to),
};
const HEADER: usize = size_of::<dpif_op_record>();
const _: () = assert!(HEADER == 80);
const _: () = assert!(dpif_family::FAMILIES.0 as usize == Family::ALL.len());

/// Why an operation was not delivered: `enum dpif_ops_lost` of `bpf/dpif_ops.h`, in its order.
#[rustfmt::skip]
pub const LOST: &[Reason] = &[
    Reason { what: "operations", why: RING_FULL, hint: LARGER_RING },
    Reason { what: "operations", why: ARGUMENTS_UNREADABLE, hint: "" },
    Reason { what: "operations", why: END_NOT_SEEN, hint: "" },
    Reason { what: "operations", why: SKIPPED, hint: "" },
];
const _: fn(&bss) -> &[u64; LOST.len()] = |bss| &bss.lost;

/// One operation of ovs-vswitchd: a request that it is about to send, at the probe `dpif_netlink_operate__:op_flow_*`; or
/// what the kernel did with a request.
#[derive(Clone, Debug)]
pub struct Op<'a> {
    pub head: Head<'a>,
    pub operation: Operation,
    /// The netlink message, from its `struct nlmsghdr` on.
    pub message: Captured<'a>,
    /// What the message says, if its headers are there.
    pub request: Result<Request<'a>, TooShort>,
    /// What the kernel did; `None` at a probe.
    pub handled: Option<Handled>,
    /// How many bytes of the record it uses.
    pub record_len: usize,
}

/// What the kernel did with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handled {
    pub family: Family,
    /// How long it took, in nanoseconds.
    pub duration: u64,
    /// 0, or the negative errno with which it failed.
    pub result: i32,
    pub chunk: Option<Chunk>,
}

/// A part of the answer to a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Whether the kernel made it as it began the dump. The others it makes when the daemon reads them.
    pub is_first: bool,
    /// 0 at the end of the dump, and if it failed.
    pub bytes: u32,
    /// The netlink messages in it, each of which is a flow, a port or a datapath; `None` if they were not counted.
    pub messages: Option<u32>,
}

impl Handled {
    /// `None` if the bytes do not make one; with the operation that was asked for.
    fn read(record: &dpif_op_record) -> Option<(Self, Operation)> {
        let handled = &record.handled;
        let family = *Family::ALL.get(usize::from(handled.family))?;
        let operation = family.operation(handled.command, handled.flags)?;
        let is_first = u32::from(record.head.kind) == dpif_op::OP_REQUEST.0;
        let chunk = (handled.messages != dpif_messages::NO_CHUNK.0).then_some(Chunk {
            is_first,
            bytes: handled.chunk.try_into().unwrap_or(0),
            messages: Some(handled.messages)
                .filter(|messages| *messages != dpif_messages::UNCOUNTED.0),
        });
        if !is_first && chunk.is_none() {
            return None;
        }
        let result = match handled.result {
            // So that nothing is sent to acknowledge a dump which has begun: netlink_dump_start() of
            // net/netlink/af_netlink.c.
            EINTR if is_dump(handled.flags) => 0,
            result => result,
        };
        let failed = chunk.map_or(0, |_| handled.chunk.min(0));
        let handled = Self {
            family,
            duration: handled.duration,
            result: if result == 0 { failed } else { result },
            chunk,
        };
        Some((handled, operation))
    }
}

/// As the kernel's functions return it.
const EINTR: i32 = -rustix::io::Errno::INTR.raw_os_error();

impl<'a> Op<'a> {
    /// Reads a `struct dpif_op_record`; `None` if the bytes do not make one. The ring hands out more bytes than the
    /// record uses.
    pub fn from_record(record: &'a [u8]) -> Option<Self> {
        let head = Head::read(record)?;
        let (header, data) = read::<dpif_op_record>(record)?;
        let bytes = data.get(..usize::try_from(header.len).ok()?)?;
        let (handled, operation) = match dpif_op(head.kind.into()) {
            dpif_op::OP_REQUEST | dpif_op::OP_CHUNK => {
                let (handled, operation) = Handled::read(&header)?;
                (Some(handled), operation)
            }
            probe => {
                let mut operations = OPERATIONS.iter();
                let (_, operation, ..) = operations.find(|(op, ..)| *op == probe)?;
                (None, *operation)
            }
        };
        let error = (header.error != 0).then_some(header.error.wrapping_neg());
        // The programs copy no more than there is, and nothing of what they could not read.
        if header.len > header.size || (error.is_some() && !bytes.is_empty()) {
            return None;
        }
        Some(Self {
            head,
            operation,
            message: Captured {
                len: header.size,
                bytes,
                error,
            },
            request: Request::parse_beginning(operation, bytes, header.size as usize),
            handled,
            record_len: HEADER + bytes.len(),
        })
    }

    /// The chunk of a dump that the kernel made.
    pub fn chunk(&self) -> Option<Chunk> {
        self.handled?.chunk
    }

    /// Whether it is a chunk of a dump that had begun before.
    pub fn is_chunk(&self) -> bool {
        self.chunk().is_some_and(|chunk| !chunk.is_first)
    }

    /// Number of the datapath; 0 if it is not known.
    pub fn dp_ifindex(&self) -> u32 {
        let Ok(request) = &self.request else {
            return 0;
        };
        u32::try_from(request.headers.dp_ifindex.get()).unwrap_or(0)
    }
}
