//! Records of version 1: what upcall-monitor recorded before its records began with a `struct event_head`.

use zerocopy::{FromBytes, Immutable, KnownLayout};

use crate::bpf::record::bytes;
use crate::bpf::upcall_monitor::types::{captured, event_head, upcall_record};

/// What the data of a record followed.
#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Header {
    time: u64,
    pid: u32,
    tid: u32,
    cpu: u32,
    kind: u16,
    target: u16,
    result: i32,
    paged: u32,
    packet_error: i16,
    key_error: i16,
    packet_at: u32,
    packet_size: u32,
    key_size: u32,
    packet_len: u32,
    key_len: u32,
    comm: [i8; 16],
    datapath: [i8; 32],
}

const _: () = assert!(size_of::<Header>() == 104);

/// Appends `record` to `to` as one of today's version. One that is shorter than its header stays as it is, which is too
/// short for today's version too.
pub(super) fn upgrade(record: &[u8], to: &mut Vec<u8>) {
    const { assert!(size_of::<Header>() <= size_of::<upcall_record>()) };
    let Ok((old, data)) = Header::read_from_prefix(record) else {
        to.extend_from_slice(record);
        return;
    };
    let header = upcall_record {
        head: event_head {
            time: old.time,
            pid: old.pid,
            tid: old.tid,
            cpu: old.cpu,
            kind: old.kind,
            target: old.target,
            comm: old.comm,
        },
        result: old.result,
        paged: old.paged,
        captured: captured {
            packet_size: old.packet_size,
            key_size: old.key_size,
            packet_len: old.packet_len,
            key_len: old.key_len,
            packet_at: old.packet_at,
            packet_error: old.packet_error,
            key_error: old.key_error,
        },
        datapath: old.datapath,
        dp_ifindex: 0,
        attributes_at: 0,
        data: [],
    };
    to.extend_from_slice(bytes(&header));
    to.extend_from_slice(data);
}
