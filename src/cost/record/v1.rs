//! Records of version 1: what upcall-cost recorded before its records began with a `struct event_head`.

use zerocopy::{FromBytes, Immutable, KnownLayout};

use crate::bpf::record::bytes;
use crate::bpf::upcall_cost::types::{captured, cost_record, event_head};

/// What the data of a record followed: the key's bytes, and right behind them the packet's.
#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Header {
    time: u64,
    skb: u64,
    event: u32,
    pid: u32,
    tid: u32,
    cpu: u32,
    upcall_type: u32,
    result: i32,
    port: u32,
    portid: u32,
    packet_size: u32,
    key_size: u32,
    packet_len: u32,
    key_len: u32,
    unfinished_checksum: u32,
    packet_error: i32,
    key_error: i32,
    comm: [i8; 16],
    datapath: [i8; 32],
    device: [i8; 16],
    checksum_size: u32,
}

const _: () = assert!(size_of::<Header>() == 144);

/// Appends `record` to `to` as one of today's version. One that is shorter than its header stays as it is, which is too
/// short for today's version too.
pub(super) fn upgrade(record: &[u8], to: &mut Vec<u8>) {
    const { assert!(size_of::<Header>() <= size_of::<cost_record>()) };
    let Ok((old, data)) = Header::read_from_prefix(record) else {
        to.extend_from_slice(record);
        return;
    };
    // The kernel's errno are from -4095 to 0.
    let errno = |error: i32| i16::try_from(error).unwrap_or(i16::MIN);
    let header = cost_record {
        head: event_head {
            time: old.time,
            pid: old.pid,
            tid: old.tid,
            cpu: old.cpu,
            // An unknown event stays unknown.
            kind: u16::try_from(old.event).unwrap_or(u16::MAX),
            target: 0,
            comm: old.comm,
        },
        skb: old.skb,
        r#type: old.upcall_type,
        result: old.result,
        port: old.port,
        portid: old.portid,
        unfinished_checksum: old.unfinished_checksum,
        checksum_size: old.checksum_size,
        captured: captured {
            packet_size: old.packet_size,
            key_size: old.key_size,
            packet_len: old.packet_len,
            key_len: old.key_len,
            packet_at: old.key_len,
            packet_error: errno(old.packet_error),
            key_error: errno(old.key_error),
        },
        datapath: old.datapath,
        device: old.device,
        message: 0,
        begun: 0,
        ended: 0,
        dp_ifindex: 0,
        unused: 0,
        data: [],
    };
    to.extend_from_slice(bytes(&header));
    to.extend_from_slice(data);
}
