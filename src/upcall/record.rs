//! The bytes of one event, as the kernel delivers or a recording keeps them, checked once.

use std::mem::{offset_of, size_of};

use crate::bpf::upcall_monitor::types::{failed_from, upcall_record};
use crate::upcall::event::{Captured, FailedFrom, Upcall};

const HEADER: usize = offset_of!(upcall_record, data);

/// NO_PORT of `bpf/upcall_monitor.h`.
pub const NO_PORT: u32 = u32::MAX;

/// Bytes that do not make a record. Whatever is in the record it is not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("a record of {0} bytes is shorter than its header of {HEADER}")]
    Short(usize),
    #[error("a record claims {claimed} bytes of key and packet and has {has}")]
    Lengths { claimed: u64, has: usize },
    #[error("a failed upcall has {0} bytes that say where it came from, not {FAILED_FROM}")]
    FailedFrom(usize),
}

const FAILED_FROM: usize = size_of::<failed_from>();

impl<'a> Upcall<'a> {
    /// Reads a `struct upcall_record` (`bpf/upcall_monitor.h`).
    ///
    /// The kernel's ring hands out more bytes than the record uses; what lies behind them is never looked at.
    pub fn from_record(record: &'a [u8]) -> Result<Self, Error> {
        if record.len() < HEADER {
            return Err(Error::Short(record.len()));
        }
        // SAFETY: upcall_record is a C struct of integers, valid for any bytes; its header was found to be within
        // the slice, its only other field is an array of no elements, and an unaligned read needs no alignment.
        let header = unsafe { record.as_ptr().cast::<upcall_record>().read_unaligned() };
        let data = &record[HEADER..];
        let (key_len, packet_at) = (header.key_len as usize, header.packet_at as usize);
        let lengths = || Error::Lengths {
            claimed: u64::from(header.packet_at.max(header.key_len)) + u64::from(header.packet_len),
            has: data.len(),
        };
        let (before, behind) = data.split_at_checked(packet_at).ok_or_else(lengths)?;
        let mut key = before.get(..key_len).ok_or_else(lengths)?;
        let packet = behind
            .get(..header.packet_len as usize)
            .ok_or_else(lengths)?;
        let mut from = None;
        if header.result != 0 {
            from = Some(read_failed_from(key)?);
            key = &[];
        }
        let errno = |error: i16| (error != 0).then(|| -i32::from(error));
        Ok(Upcall {
            time: header.time,
            cpu: header.cpu,
            target: header.target.into(),
            pid: header.pid,
            tid: header.tid,
            comm: c_string(
                record,
                offset_of!(upcall_record, comm),
                size_of_val(&header.comm),
            ),
            datapath: c_string(
                record,
                offset_of!(upcall_record, datapath),
                size_of_val(&header.datapath),
            ),
            kind: header.r#type.into(),
            result: header.result,
            packet: Captured {
                len: header.packet_size,
                bytes: packet,
                error: errno(header.packet_error),
            },
            paged: header.paged,
            key: Captured {
                len: header.key_size,
                bytes: key,
                error: errno(header.key_error),
            },
            failed_from: from,
            record_len: HEADER + packet_at + packet.len(),
        })
    }
}

fn read_failed_from(bytes: &[u8]) -> Result<FailedFrom<'_>, Error> {
    if bytes.len() != FAILED_FROM {
        return Err(Error::FailedFrom(bytes.len()));
    }
    // SAFETY: failed_from is a C struct of integers, valid for any bytes; there are as many as it has, and an
    // unaligned read needs no alignment.
    let from = unsafe { bytes.as_ptr().cast::<failed_from>().read_unaligned() };
    Ok(FailedFrom {
        device: c_string(
            bytes,
            offset_of!(failed_from, device),
            size_of_val(&from.device),
        ),
        port: Some(from.port).filter(|port| *port != NO_PORT),
        eth_type: u16::from_be(from.eth_type),
        proto: from.proto,
        src: from.src,
        dst: from.dst,
    })
}

/// The bytes before the first NUL of a field of `size` bytes.
fn c_string(record: &[u8], offset: usize, size: usize) -> &[u8] {
    let field = &record[offset..offset + size];
    let end = field.iter().position(|&b| b == 0).unwrap_or(size);
    &field[..end]
}

/// Whoever changes `struct upcall_record` changes the version of recordings too.
const _: () = assert!(size_of::<upcall_record>() == 104 && HEADER == 104);

#[cfg(test)]
mod tests {
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
        // result, paged, both errors, packet_at
        for word in [0, 0, 0, key.len() + between.len()] {
            record.extend_from_slice(&(word as u32).to_ne_bytes());
        }
        for size in [
            1500,
            key.len() as u32,
            packet.len() as u32,
            key.len() as u32,
        ] {
            record.extend_from_slice(&size.to_ne_bytes());
        }
        record.extend_from_slice(b"handler1\0garbage");
        record.extend_from_slice(b"system@ovs-system\0more-garbage..");
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

    /// Check that a failed read is an errno and no bytes.
    #[test]
    fn unreadable() {
        let mut bytes = record(b"", b"the packet", b"");
        let key_error = offset_of!(upcall_record, key_error);
        bytes[key_error..key_error + 2].copy_from_slice(&(-14i16).to_ne_bytes());
        let upcall = Upcall::from_record(&bytes).unwrap();
        assert_eq!(upcall.key.error, Some(14));
        assert!(upcall.key.bytes.is_empty());
        assert_eq!(upcall.packet.bytes, b"the packet");
    }

    /// Check that a failed upcall says where it came from where another has its key, and has no key.
    #[test]
    fn failed() {
        let from = |port: u32| {
            let mut from = b"p-e1\0-garbage...".to_vec();
            from.extend_from_slice(&port.to_ne_bytes());
            from.extend_from_slice(&[0x86, 0xdd, 17, 0]);
            from.extend_from_slice(&[[0xaa; 16], [0xbb; 16]].concat());
            from
        };
        let failing = |from: &[u8]| {
            let mut bytes = record(from, b"the packet", b"STALE");
            for (offset, value) in [
                (offset_of!(upcall_record, result), -11),
                (offset_of!(upcall_record, paged), 1490),
                (offset_of!(upcall_record, key_size), 0),
            ] {
                bytes[offset..offset + 4].copy_from_slice(&i32::to_ne_bytes(value));
            }
            bytes
        };
        for (number, port) in [(2, Some(2)), (NO_PORT, None)] {
            let bytes = failing(&from(number));
            let upcall = Upcall::from_record(&bytes).unwrap();
            let expected = FailedFrom {
                device: b"p-e1",
                port,
                eth_type: 0x86dd,
                proto: 17,
                src: [0xaa; 16],
                dst: [0xbb; 16],
            };
            assert_eq!(upcall.failed_from, Some(expected));
            assert_eq!(upcall.in_port(), port);
            assert_eq!((upcall.result, upcall.paged), (-11, 1490));
            assert_eq!(upcall.packet.bytes, b"the packet");
            assert_eq!(upcall.key, Captured::default());
            assert_eq!(upcall.record_len, bytes.len() - b"STALE".len());
        }
        let bytes = failing(&from(2)[1..]);
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
                (offset_of!(upcall_record, key_len), key),
                (offset_of!(upcall_record, packet_at), at),
                (offset_of!(upcall_record, packet_len), packet),
            ] {
                bytes[offset..offset + 4].copy_from_slice(&value.to_ne_bytes());
            }
            let packet_error = offset_of!(upcall_record, packet_error);
            bytes[packet_error..packet_error + 2].copy_from_slice(&errno.to_ne_bytes());
            let result = Upcall::from_record(&bytes);
            prop_assert_eq!(result.is_ok(), key <= at && at + packet <= 20);
        }
    }
}
