//! The bytes of one event, as the kernel delivers or a recording keeps them, checked once.

use std::mem::{offset_of, size_of};

use crate::bpf::upcall_monitor::types::upcall_record;
use crate::event::{Captured, Upcall};

const HEADER: usize = offset_of!(upcall_record, data);

/// Bytes that do not make a record. Whatever is in the record it is not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("a record of {0} bytes is shorter than its header of {HEADER}")]
    Short(usize),
    #[error("a record claims {claimed} bytes of key and packet and has {has}")]
    Lengths { claimed: u64, has: usize },
}

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
        let claimed = u64::from(header.key_len) + u64::from(header.packet_len);
        let bytes = usize::try_from(claimed)
            .ok()
            .and_then(|claimed| data.get(..claimed))
            .ok_or(Error::Lengths {
                claimed,
                has: data.len(),
            })?;
        let (key, packet) = bytes.split_at(header.key_len as usize);
        let errno = |error: i32| (error != 0).then_some(-error);
        Ok(Upcall {
            time: header.time,
            cpu: header.cpu,
            pid: header.pid,
            tid: header.tid,
            comm: c_string(record, offset_of!(upcall_record, comm), size_of_val(&header.comm)),
            datapath: c_string(
                record,
                offset_of!(upcall_record, datapath),
                size_of_val(&header.datapath),
            ),
            kind: header.r#type,
            result: header.result,
            packet: Captured {
                len: header.packet_size,
                bytes: packet,
                error: errno(header.packet_error),
            },
            key: Captured {
                len: header.key_size,
                bytes: key,
                error: errno(header.key_error),
            },
        })
    }

    /// How many bytes of `record`, which this upcall was read from, it uses.
    pub fn record_len(&self) -> usize {
        HEADER + self.key.bytes.len() + self.packet.bytes.len()
    }
}

/// The bytes before the first NUL of a field of `size` bytes.
fn c_string(record: &[u8], offset: usize, size: usize) -> &[u8] {
    let field = &record[offset..offset + size];
    let end = field.iter().position(|&b| b == 0).unwrap_or(size);
    &field[..end]
}

/// Whoever changes `struct upcall_record` changes the version of recordings too.
const _: () = assert!(size_of::<upcall_record>() == 104 && HEADER == 104);
