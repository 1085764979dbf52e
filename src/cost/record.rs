//! The bytes of one event, as the kernel delivers or a recording keeps them, checked once.

mod v1;
mod v2;

use std::ops::Range;

use super::analysis::{LOST, QUEUED};
use super::{Event, KINDS, Kind};
use crate::bpf::record::read;
use crate::bpf::upcall_cost::types::{cost_event, cost_lost, cost_record};
use crate::bpf::upcall_monitor::types::captured;
use crate::c_str;
use crate::run::recording::Records;
use crate::upcall::record::key_and_packet;

/// The records of upcall-cost: `struct cost_record` (`bpf/upcall_cost.h`).
pub const RECORDS: Records = Records {
    tool: "upcall-cost",
    version: 3,
    upgrade: |version, record, to| match version {
        2 => v2::upgrade(record, to),
        _ => v1::upgrade(record, to),
    },
};

const HEADER: usize = size_of::<cost_record>();
/// Whoever changes `struct cost_record` changes the version of [`RECORDS`] too.
const _: () = assert!(HEADER == 176);

// The events are numbered as the kinds are, and so are the counts of those that found the ring full, but for the last.
const _: () = {
    assert!(KINDS == cost_event::EVENTS.0 as usize);
    assert!(Kind::RecvUpcall as u32 == cost_event::EVENT_RECV_UPCALL.0);
    assert!(Kind::DpUpcall as u32 == cost_event::EVENT_DP_UPCALL.0);
    assert!(Kind::OpFlowPut as u32 == cost_event::EVENT_OP_FLOW_PUT.0);
    assert!(Kind::OpFlowExecute as u32 == cost_event::EVENT_OP_FLOW_EXECUTE.0);
    assert!(Kind::OvsPktExec as u32 == cost_event::EVENT_OVS_PKT_EXEC.0);
    assert!(Kind::DpFailed as u32 == cost_event::EVENT_DP_FAILED.0);
    assert!(Kind::DpQueued as u32 == cost_event::EVENT_DP_QUEUED.0);
    assert!(Kind::DpQueued as u32 == cost_lost::LOST_ARGUMENTS.0);
    assert!(QUEUED == cost_lost::LOST_QUEUED.0 as usize);
    assert!(LOST == cost_lost::LOST_REASONS.0 as usize);
};

/// Bytes that do not make a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("a record of {0} bytes is shorter than its header of {HEADER}")]
    Short(usize),
    #[error("a record claims {claimed} bytes of key and packet and has {has}")]
    Lengths { claimed: u64, has: usize },
    #[error("a record of the unknown event {0}")]
    Kind(u16),
}

impl<'a> Event<'a> {
    /// Reads a `struct cost_record` (`bpf/upcall_cost.h`).
    ///
    /// The kernel's ring hands out more bytes than the record uses; what follows them is never looked at.
    pub fn from_record(record: &'a [u8]) -> Result<Self, Error> {
        let (header, data) = read::<cost_record>(record).ok_or(Error::Short(record.len()))?;
        let head = &header.head;
        let kind = *Kind::ALL
            .get(usize::from(head.kind))
            .ok_or(Error::Kind(head.kind))?;
        // Each BPF program has bindings of its own of what is the same struct in C.
        let captured = captured {
            packet_size: header.captured.packet_size,
            key_size: header.captured.key_size,
            packet_len: header.captured.packet_len,
            key_len: header.captured.key_len,
            packet_at: header.captured.packet_at,
            packet_error: header.captured.packet_error,
            key_error: header.captured.key_error,
        };
        let (key, packet, data_len) = key_and_packet(&captured, data)
            .map_err(|(claimed, has)| Error::Lengths { claimed, has })?;
        Ok(Self {
            cpu: head.cpu,
            pid: head.pid,
            tid: head.tid,
            comm: c_str!(record, cost_record, head.comm),
            datapath: c_str!(record, cost_record, datapath),
            device: c_str!(record, cost_record, device),
            upcall_type: header.r#type,
            result: header.result,
            port: match kind {
                Kind::DpUpcall | Kind::DpFailed => Some(header.port),
                Kind::RecvUpcall => crate::ovs::flow_key::in_port(key.bytes),
                _ => None,
            },
            portid: header.portid,
            skb: header.skb,
            message: header.message,
            dp_ifindex: known(header.dp_ifindex),
            begun: known(header.begun),
            ended: known(header.ended),
            packet,
            key,
            checksum: checksum(header.unfinished_checksum, header.checksum_size),
            record_len: HEADER + data_len,
            ..Self::new(kind, head.time)
        })
    }
}

/// A number for which 0 says that it is not known.
fn known<T: Default + PartialEq>(number: T) -> Option<T> {
    (number != T::default()).then_some(number)
}

/// Where an unfinished checksum is.
fn checksum(at: u32, size: u32) -> Option<Range<usize>> {
    // That of SCTP is the longest.
    let (at, size) = (at as usize, size.min(4) as usize);
    (at > 0).then_some(at..at.saturating_add(size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::captured::Captured;

    /// The layout of version 1: numbers, names, the size of a checksum, the key and the packet.
    fn version_1(event: u32, packet_error: i32) -> Vec<u8> {
        let mut old = Vec::new();
        for word in [7u64, 0xffff_8880_0000_1000] {
            old.extend_from_slice(&word.to_ne_bytes());
        }
        // pid, tid, cpu, type, result, port, portid, sizes of packet and key, their lengths, where a checksum is
        for word in [
            event,
            100,
            101,
            3,
            1,
            0xffff_fff5,
            2,
            77,
            1500,
            60,
            6,
            3,
            40,
        ] {
            old.extend_from_slice(&word.to_ne_bytes());
        }
        for error in [packet_error, -14] {
            old.extend_from_slice(&error.to_ne_bytes());
        }
        old.extend_from_slice(b"handler1\0garbage");
        old.extend_from_slice(b"system@ovs-system\0more-garbage..");
        old.extend_from_slice(b"p-e1\0more-garbag");
        old.extend_from_slice(&2u32.to_ne_bytes());
        old.extend_from_slice(b"keypacket");
        old
    }

    fn upgraded(record: &[u8]) -> Vec<u8> {
        let mut upgraded = Vec::new();
        (RECORDS.upgrade)(1, record, &mut upgraded);
        upgraded
    }

    /// Check that a record of version 2, which lacks the end of the header, becomes the event that it is, and that one
    /// which is cut anywhere becomes none.
    #[test]
    fn from_version_2() {
        let current = upgraded(&version_1(1, 0));
        let expected = Event::from_record(&current).unwrap();
        let old = [&current[..144], &current[HEADER..]].concat();
        let upgraded = |record: &[u8]| {
            let mut upgraded = Vec::new();
            (RECORDS.upgrade)(2, record, &mut upgraded);
            upgraded
        };
        assert_eq!(upgraded(&old), current);
        assert_eq!(expected.message, 0);
        for cut in 0..old.len() {
            assert!(
                Event::from_record(&upgraded(&old[..cut])).is_err(),
                "cut at {cut}"
            );
        }
    }

    /// Check that what only the kernel as the source knows is found where the programs put it.
    #[test]
    fn of_the_kernel() {
        let mut record = upgraded(&version_1(3, 0));
        for (at, number) in [(144, 0xffff_8880_0000_2000u64), (152, 70), (160, 75)] {
            record[at..at + 8].copy_from_slice(&number.to_ne_bytes());
        }
        record[168..172].copy_from_slice(&6u32.to_ne_bytes());
        let event = Event::from_record(&record).unwrap();
        assert_eq!(event.message, 0xffff_8880_0000_2000);
        assert_eq!((event.begun, event.ended), (Some(70), Some(75)));
        assert_eq!((event.dp_ifindex, event.result), (Some(6), -11));
    }

    /// Check that a record of version 1 becomes the event that it is, that one which is cut anywhere becomes none, and
    /// that numbers which only a damaged file has stay errors.
    #[test]
    fn from_version_1() {
        let old = version_1(1, 0);
        let expected = Event {
            cpu: 3,
            pid: 100,
            tid: 101,
            comm: b"handler1",
            datapath: b"system@ovs-system",
            device: b"p-e1",
            upcall_type: 1,
            result: -11,
            port: Some(2),
            portid: 77,
            skb: 0xffff_8880_0000_1000,
            packet: Captured {
                len: 1500,
                bytes: b"packet",
                error: None,
            },
            key: Captured {
                len: 60,
                bytes: b"key",
                error: Some(14),
            },
            checksum: Some(40..42),
            record_len: HEADER + 9,
            ..Event::new(Kind::DpUpcall, 7)
        };
        assert_eq!(Event::from_record(&upgraded(&old)), Ok(expected));
        for cut in 0..old.len() {
            assert!(
                Event::from_record(&upgraded(&old[..cut])).is_err(),
                "cut at {cut}"
            );
        }
        for unknown in [7, 0x1_0000, u32::MAX] {
            let upgraded = upgraded(&version_1(unknown, 0));
            assert!(matches!(Event::from_record(&upgraded), Err(Error::Kind(_))));
        }
        let upgraded = upgraded(&version_1(1, i32::MIN));
        assert_eq!(
            Event::from_record(&upgraded).unwrap().packet.error,
            Some(32768)
        );
    }

    /// Check that bytes between key and packet, as the kernel has them where one read fetched both, belong to neither.
    #[test]
    fn between() {
        let mut record = upgraded(&version_1(0, 0));
        let packet_at = std::mem::offset_of!(cost_record, captured.packet_at);
        record[packet_at..packet_at + 4].copy_from_slice(&8u32.to_ne_bytes());
        record.splice(HEADER + 3..HEADER + 3, *b"nlatt");
        record.extend_from_slice(b"STALE");
        let event = Event::from_record(&record).unwrap();
        assert_eq!(
            (event.key.bytes, event.packet.bytes),
            (&b"key"[..], &b"packet"[..])
        );
        assert_eq!(event.record_len, record.len() - 5);
    }
}
