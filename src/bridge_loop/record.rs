//! A run or a wait as the kernel delivers it.

use std::mem::offset_of;

use super::Kind;
use crate::bpf::bridge_loop::types::loop_record;

/// One run or wait that gets a line.
pub struct Record<'a> {
    pub header: loop_record,
    pub kind: Kind,
    /// The name of the thread.
    pub comm: &'a [u8],
    /// Addresses, the innermost first.
    pub stack: Vec<u64>,
}

impl<'a> Record<'a> {
    /// Reads a `struct loop_record` (bpf/bridge_loop.h); nothing if it is too short for one.
    pub fn from_bytes(record: &'a [u8]) -> Option<Self> {
        let stack = record.get(offset_of!(loop_record, stack)..)?;
        // SAFETY: loop_record is a C struct of integers, valid for any bytes; its header was found to be within the
        // slice, its only other field is an array of no elements, and an unaligned read needs no alignment.
        let header = unsafe { record.as_ptr().cast::<loop_record>().read_unaligned() };
        let comm = &record[offset_of!(loop_record, comm)..][..size_of_val(&header.comm)];
        let size = usize::try_from(header.stack_size).unwrap_or(0);
        let frames = stack.get(..size).unwrap_or_default().chunks_exact(8);
        Some(Self {
            kind: *Kind::ALL.get(header.kind as usize)?,
            comm: comm.split(|b| *b == 0).next().unwrap_or_default(),
            stack: frames
                .filter_map(|frame| frame.try_into().ok().map(u64::from_ne_bytes))
                .collect(),
            header,
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A record as bpf/bridge_loop.bpf.c writes it.
    pub fn record(
        kind: u32,
        unseen: u32,
        duration: u64,
        comm: &[u8; 16],
        stack: &[u64],
    ) -> Vec<u8> {
        let mut record = Vec::new();
        for word in [5_000_000_000, duration] {
            record.extend_from_slice(&word.to_ne_bytes());
        }
        for word in [41, 42, kind, unseen, stack.len() as u32 * 8, 0] {
            record.extend_from_slice(&word.to_ne_bytes());
        }
        record.extend_from_slice(comm);
        record.extend(stack.iter().flat_map(|frame| frame.to_ne_bytes()));
        record
    }

    /// Check that the fields of a record are read, and that a record of any length is no cause for a panic.
    #[test]
    fn any_length() {
        let bytes = record(1, 1, 7, b"ovs-vswitchd\0\0\0\0", &[0x10, 0x20]);
        let whole = Record::from_bytes(&bytes).unwrap();
        assert_eq!((whole.kind, whole.header.duration), (Kind::Wait, 7));
        assert_eq!(whole.comm, b"ovs-vswitchd");
        assert_eq!(whole.stack, [0x10, 0x20]);
        for len in 0..bytes.len() {
            let cut = Record::from_bytes(&bytes[..len]);
            assert_eq!(cut.is_some(), len >= offset_of!(loop_record, stack));
            assert!(cut.is_none_or(|cut| cut.stack.is_empty()));
        }
    }
}
