//! Records of version 1: what dpif-ops recorded before the kernel became a source of its operations.

use zerocopy::{FromBytes, Immutable, KnownLayout};

use crate::bpf::dpif_ops::types::{dpif_op_record, event_head};
use crate::bpf::record::bytes;

/// What the bytes of a request followed.
#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Header {
    time: u64,
    pid: u32,
    tid: u32,
    cpu: u32,
    kind: u16,
    target: u16,
    comm: [i8; 16],
    size: u32,
    len: u32,
    error: i32,
    pad: u32,
}

const _: () = assert!(size_of::<Header>() == 56);

/// The kinds that there were: the four probes.
const KINDS: u16 = 4;

/// Appends `record` to `to` as one of version 2. One that is shorter than its header stays as it is, which is too short
/// for version 2 too.
pub(super) fn upgrade(record: &[u8], to: &mut Vec<u8>) {
    const { assert!(size_of::<Header>() <= size_of::<dpif_op_record>()) };
    let Ok((old, request)) = Header::read_from_prefix(record) else {
        to.extend_from_slice(record);
        return;
    };
    let header = dpif_op_record {
        head: event_head {
            time: old.time,
            pid: old.pid,
            tid: old.tid,
            cpu: old.cpu,
            // An unknown kind stays unknown.
            kind: if old.kind < KINDS { old.kind } else { u16::MAX },
            target: old.target,
            comm: old.comm,
        },
        size: old.size,
        len: old.len,
        error: old.error,
        ..Default::default()
    };
    to.extend_from_slice(bytes(&header));
    to.extend_from_slice(request);
}
