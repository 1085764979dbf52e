//! The bytes of one event, as the kernel delivers or a recording keeps them, checked once.

mod v1;
mod v2;

use std::mem::size_of;

use crate::bpf::record::read;
use crate::bpf::upcall_monitor::types::{
    captured, failed_from, lost_reason, packet_link, unknown, upcall_record,
};
use crate::c_str;
use crate::ovs::packet::Link;
use crate::run::recording::Records;
use crate::trace::captured::Captured;
use crate::upcall::event::{FailedFrom, Upcall};
use crate::upcall::summary::LOST;

/// The records of upcall-monitor: `struct upcall_record` (`bpf/upcall_monitor.h`).
pub const RECORDS: Records = Records {
    tool: "upcall-monitor",
    version: 3,
    upgrade: |version, record, to| match version {
        2 => v2::upgrade(record, to),
        _ => v1::upgrade(record, to),
    },
};

const HEADER: usize = size_of::<upcall_record>();
/// Whoever changes `struct upcall_record` changes the version of [`RECORDS`] too.
const _: () = assert!(HEADER == 112);

// The reasons are numbered as their names are.
const _: () = {
    assert!(lost_reason::LOST_REASONS.0 as usize == LOST.len());
    assert!(lost_reason::LOST_RING_FULL.0 == 0 && lost_reason::LOST_ARGUMENTS.0 == 1);
};

/// Stands for the number of a port that is not known.
pub const NO_PORT: u32 = unknown::NO_PORT.0;

/// Why bytes do not make a record. Nothing of such a record is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("a record of {0} bytes is shorter than its header of {HEADER}")]
    Short(usize),
    #[error("a record claims {claimed} bytes of key and packet and has {has}")]
    Lengths { claimed: u64, has: usize },
    #[error("a record claims attributes from byte {from} to {to}, where its packet begins")]
    Attributes { from: usize, to: usize },
    #[error("a failed upcall has {0} bytes that say where it came from, not {FAILED_FROM}")]
    FailedFrom(usize),
}

/// `NLA_HDRLEN` (`linux/netlink.h`): what the packet's attribute begins with.
const NLA_HDRLEN: usize = 4;

const FAILED_FROM: usize = size_of::<failed_from>();

impl<'a> Upcall<'a> {
    /// Reads a `struct upcall_record` (`bpf/upcall_monitor.h`).
    ///
    /// The kernel's ring hands out more bytes than the record uses; what follows them is never looked at.
    pub fn from_record(record: &'a [u8]) -> Result<Self, Error> {
        let (header, data) = read::<upcall_record>(record).ok_or(Error::Short(record.len()))?;
        let (mut key, packet, data_len) = key_and_packet(&header.captured, data)
            .map_err(|(claimed, has)| Error::Lengths { claimed, has })?;
        let mut from = None;
        if header.result != 0 {
            from = Some(read_failed_from(key.bytes)?);
            key.bytes = &[];
        }
        let head = &header.head;
        let mut attributes = None;
        if header.attributes_at > 0 {
            let (from, to) = (
                header.attributes_at as usize,
                header.captured.packet_at as usize,
            );
            let run = to.checked_sub(NLA_HDRLEN).and_then(|to| data.get(from..to));
            attributes = Some(run.ok_or(Error::Attributes { from, to })?);
        }
        Ok(Upcall {
            time: head.time,
            cpu: head.cpu,
            target: head.target.into(),
            pid: head.pid,
            tid: head.tid,
            comm: c_str!(record, upcall_record, head.comm),
            datapath: c_str!(record, upcall_record, datapath),
            dp_ifindex: Some(header.dp_ifindex).filter(|number| *number != 0),
            kind: head.kind.into(),
            result: header.result,
            packet,
            paged: header.paged,
            key,
            attributes,
            failed_from: from,
            record_len: HEADER + data_len,
        })
    }
}

/// The key and the packet in the data of a record, and how many bytes of the data they take; or, if there are too few,
/// how many bytes the record claims and has.
pub(crate) fn key_and_packet<'a>(
    captured: &captured,
    data: &'a [u8],
) -> Result<(Captured<'a>, Captured<'a>, usize), (u64, usize)> {
    let (key_len, packet_at) = (captured.key_len as usize, captured.packet_at as usize);
    let claimed = || {
        let key = captured.packet_at.max(captured.key_len);
        let claimed = u64::from(key) + u64::from(captured.packet_len);
        (claimed, data.len())
    };
    let (before, behind) = data.split_at_checked(packet_at).ok_or_else(claimed)?;
    let key = before.get(..key_len).ok_or_else(claimed)?;
    let packet = behind
        .get(..captured.packet_len as usize)
        .ok_or_else(claimed)?;
    let errno = |error: i16| (error != 0).then(|| -i32::from(error));
    Ok((
        Captured {
            len: captured.key_size,
            bytes: key,
            error: errno(captured.key_error),
        },
        Captured {
            len: captured.packet_size,
            bytes: packet,
            error: errno(captured.packet_error),
        },
        packet_at + packet.len(),
    ))
}

fn read_failed_from(bytes: &[u8]) -> Result<FailedFrom<'_>, Error> {
    let Some((from, [])) = read::<failed_from>(bytes) else {
        return Err(Error::FailedFrom(bytes.len()));
    };
    let port = Some(from.port).filter(|port| *port != NO_PORT);
    let eth_type = u16::from_be(from.eth_type);
    Ok(FailedFrom {
        device: c_str!(bytes, failed_from, device),
        port,
        // Where the port is not known, the rest of the flow is not either.
        eth_type: port.map_or(0, |_| eth_type),
        link: match packet_link(from.link.into()) {
            packet_link::LINK_ETHERNET => Link::Ethernet,
            packet_link::LINK_NETWORK => Link::Network(eth_type),
            _ => Link::Unknown,
        },
        proto: from.proto,
        src: from.src,
        dst: from.dst,
    })
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use proptest::prelude::*;

    use super::*;

    /// A record as bpf/upcall_monitor.bpf.c writes it: header, key, packet, and what the ring had there before.
    fn record(key: &[u8], packet: &[u8], unused: &[u8]) -> Vec<u8> {
        record_of_message(key, b"", packet, unused)
    }

    /// The same with what lay between key and packet.
    fn record_of_message(key: &[u8], between: &[u8], packet: &[u8], unused: &[u8]) -> Vec<u8> {
        let mut record = Vec::new();
        record.extend_from_slice(&1_953_954_173_342u64.to_ne_bytes());
        for word in [100u32, 101, 1, 0] {
            record.extend_from_slice(&word.to_ne_bytes());
        }
        record.extend_from_slice(b"handler1\0garbage");
        // result, paged, then the sizes, the lengths, packet_at and both errors
        for word in [
            0,
            0,
            1500,
            key.len(),
            packet.len(),
            key.len(),
            key.len() + between.len(),
            0,
        ] {
            record.extend_from_slice(&(word as u32).to_ne_bytes());
        }
        record.extend_from_slice(b"system@ovs-system\0more-garbage..");
        // dp_ifindex, attributes_at
        for word in [6u32, 0] {
            record.extend_from_slice(&word.to_ne_bytes());
        }
        assert_eq!(record.len(), HEADER);
        for part in [key, between, packet, unused] {
            record.extend_from_slice(part);
        }
        record
    }

    /// Check that each field is found where the kernel put it, and nothing beyond.
    #[test]
    fn fields() {
        for between in [&b""[..], b"a hash, a header"] {
            let bytes = record_of_message(b"the key", between, b"the packet", b"STALE");
            let expected = Upcall {
                time: 1_953_954_173_342,
                cpu: 1,
                pid: 100,
                tid: 101,
                comm: b"handler1",
                datapath: b"system@ovs-system",
                dp_ifindex: Some(6),
                packet: Captured {
                    len: 1500,
                    bytes: b"the packet",
                    error: None,
                },
                key: Captured {
                    len: 7,
                    bytes: b"the key",
                    error: None,
                },
                record_len: bytes.len() - b"STALE".len(),
                ..Upcall::default()
            };
            assert_eq!(Upcall::from_record(&bytes), Ok(expected));
        }
    }

    /// Check that the other attributes of a message are what is between the key and the header of the packet, wherever
    /// they begin, and that a record which has them elsewhere is refused.
    #[test]
    fn attributes() {
        let between = b"a hash, and more, the packet's header";
        let mut bytes = record_of_message(b"the key.", between, b"the packet", b"STALE");
        let mut read = |at: u32| {
            let offset = offset_of!(upcall_record, attributes_at);
            bytes[offset..offset + 4].copy_from_slice(&at.to_ne_bytes());
            let upcall = Upcall::from_record(&bytes);
            upcall.map(|upcall| upcall.attributes.map(<[u8]>::to_vec))
        };
        let (key, end) = (8, 8 + between.len() - NLA_HDRLEN);
        assert_eq!(read(0), Ok(None));
        for at in key..=end {
            let expected = between[at - key..end - key].to_vec();
            assert_eq!(read(at as u32), Ok(Some(expected)), "{at}");
        }
        for at in [end as u32 + 1, end as u32 + 4, 1000, u32::MAX] {
            let from = at as usize;
            let to = end + NLA_HDRLEN;
            assert_eq!(read(at), Err(Error::Attributes { from, to }));
        }
    }

    /// Check that a failed read is an errno and no bytes.
    #[test]
    fn unreadable() {
        let mut bytes = record(b"", b"the packet", b"");
        let key_error = offset_of!(upcall_record, captured.key_error);
        bytes[key_error..key_error + 2].copy_from_slice(&(-14i16).to_ne_bytes());
        let upcall = Upcall::from_record(&bytes).unwrap();
        assert_eq!(upcall.key.error, Some(14));
        assert!(upcall.key.bytes.is_empty());
        assert_eq!(upcall.packet.bytes, b"the packet");
    }

    /// Check that a failed upcall says where it came from where another has its key, and has no key.
    #[test]
    fn failed() {
        let from = |port: u32, link: u8| {
            let mut from = b"p-e1\0-garbage...".to_vec();
            from.extend_from_slice(&port.to_ne_bytes());
            from.extend_from_slice(&[0x86, 0xdd, 17, link]);
            from.extend_from_slice(&[[0xaa; 16], [0xbb; 16]].concat());
            from
        };
        let failing = |from: &[u8]| {
            let mut bytes = record(from, b"the packet", b"STALE");
            for (offset, value) in [
                (offset_of!(upcall_record, result), -11),
                (offset_of!(upcall_record, paged), 1490),
                (offset_of!(upcall_record, captured.key_size), 0),
            ] {
                bytes[offset..offset + 4].copy_from_slice(&i32::to_ne_bytes(value));
            }
            bytes
        };
        let network = Link::Network(0x86dd);
        for (number, port, eth_type, link_number, link) in [
            (2, Some(2), 0x86dd, 1, Link::Ethernet),
            (2, Some(2), 0x86dd, 2, network),
            (NO_PORT, None, 0, 2, network),
            // Of a recording from before it was recorded, and of one that is damaged.
            (2, Some(2), 0x86dd, 0, Link::Unknown),
            (2, Some(2), 0x86dd, 3, Link::Unknown),
        ] {
            let bytes = failing(&from(number, link_number));
            let upcall = Upcall::from_record(&bytes).unwrap();
            let expected = FailedFrom {
                device: b"p-e1",
                port,
                eth_type,
                link,
                proto: 17,
                src: [0xaa; 16],
                dst: [0xbb; 16],
            };
            assert_eq!(upcall.failed_from, Some(expected));
            assert_eq!((upcall.in_port(), upcall.link()), (port, link));
            assert_eq!((upcall.result, upcall.paged), (-11, 1490));
            assert_eq!(upcall.packet.bytes, b"the packet");
            assert_eq!(upcall.key, Captured::default());
            assert_eq!(upcall.record_len, bytes.len() - b"STALE".len());
        }
        let bytes = failing(&from(2, 1)[1..]);
        assert_eq!(
            Upcall::from_record(&bytes),
            Err(Error::FailedFrom(FAILED_FROM - 1))
        );
    }

    /// Check that a record which is cut anywhere is refused rather than filled up.
    #[test]
    fn every_prefix() {
        let bytes = record_of_message(b"the key", b"between", b"the packet", b"");
        for cut in 0..bytes.len() {
            assert!(Upcall::from_record(&bytes[..cut]).is_err(), "cut at {cut}");
        }
    }

    /// Check that a record of version 1, written out here as its layout was, becomes the same upcall as one of
    /// today's, and that one which is cut anywhere does not.
    #[test]
    fn version_1() {
        let mut old = Vec::new();
        old.extend_from_slice(&7u64.to_ne_bytes());
        for word in [100u32, 101, 3] {
            old.extend_from_slice(&word.to_ne_bytes());
        }
        for half in [1u16, 2] {
            old.extend_from_slice(&half.to_ne_bytes());
        }
        old.extend_from_slice(&0i32.to_ne_bytes());
        old.extend_from_slice(&40u32.to_ne_bytes());
        for error in [0i16, -14] {
            old.extend_from_slice(&error.to_ne_bytes());
        }
        // packet_at, packet_size, key_size, packet_len, key_len
        for word in [5u32, 1500, 60, 6, 3] {
            old.extend_from_slice(&word.to_ne_bytes());
        }
        old.extend_from_slice(b"handler1\0garbage");
        old.extend_from_slice(b"system@ovs-system\0more-garbage..");
        old.extend_from_slice(b"key__packet");
        let upgraded = |record: &[u8]| {
            let mut upgraded = Vec::new();
            (RECORDS.upgrade)(1, record, &mut upgraded);
            upgraded
        };
        let expected = Upcall {
            time: 7,
            cpu: 3,
            target: 2,
            pid: 100,
            tid: 101,
            comm: b"handler1",
            datapath: b"system@ovs-system",
            kind: 1,
            packet: Captured {
                len: 1500,
                bytes: b"packet",
                error: None,
            },
            paged: 40,
            key: Captured {
                len: 60,
                bytes: b"key",
                error: Some(14),
            },
            record_len: HEADER + 11,
            ..Upcall::default()
        };
        assert_eq!(Upcall::from_record(&upgraded(&old)), Ok(expected));
        for cut in 0..old.len() {
            let upgraded = upgraded(&old[..cut]);
            assert!(Upcall::from_record(&upgraded).is_err(), "cut at {cut}");
        }
    }

    /// Check that a record of version 2, which ended with the name of the datapath, becomes the same upcall, of which
    /// neither the number of the datapath nor other attributes are known; and that one which is cut does not.
    #[test]
    fn version_2() {
        let whole = record_of_message(b"the key", b"between", b"the packet", b"");
        let old = [&whole[..HEADER - 8], &whole[HEADER..]].concat();
        let upgraded = |record: &[u8]| {
            let mut upgraded = Vec::new();
            (RECORDS.upgrade)(2, record, &mut upgraded);
            upgraded
        };
        let expected = Upcall {
            dp_ifindex: None,
            ..Upcall::from_record(&whole).unwrap()
        };
        assert_eq!(Upcall::from_record(&upgraded(&old)), Ok(expected));
        for cut in 0..old.len() {
            let upgraded = upgraded(&old[..cut]);
            assert!(Upcall::from_record(&upgraded).is_err(), "cut at {cut}");
        }
    }

    proptest! {
        /// Check that no bytes make it panic, and that it never claims more bytes than there are.
        #[test]
        fn arbitrary(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            if let Ok(upcall) = Upcall::from_record(&bytes) {
                prop_assert!(upcall.record_len <= bytes.len());
            }
        }

        /// Check the same for headers whose lengths are plausible but wrong.
        #[test]
        fn lying_lengths(key in 0u32..40, at in 0u32..40, packet in 0u32..40, errno in any::<i16>()) {
            let mut bytes = record(b"0123456789", b"0123456789", b"");
            for (offset, value) in [
                (offset_of!(upcall_record, captured.key_len), key),
                (offset_of!(upcall_record, captured.packet_at), at),
                (offset_of!(upcall_record, captured.packet_len), packet),
            ] {
                bytes[offset..offset + 4].copy_from_slice(&value.to_ne_bytes());
            }
            let packet_error = offset_of!(upcall_record, captured.packet_error);
            bytes[packet_error..packet_error + 2].copy_from_slice(&errno.to_ne_bytes());
            let result = Upcall::from_record(&bytes);
            prop_assert_eq!(result.is_ok(), key <= at && at + packet <= 20);
        }
    }
}
