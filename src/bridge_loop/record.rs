//! A run or a wait as the kernel delivers it.

use super::Kind;
use crate::bpf::bridge_loop::types::loop_record;
use crate::bpf::record::read;
use crate::c_str;

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
        let (header, stack) = read::<loop_record>(record)?;
        let size = usize::try_from(header.stack_size).unwrap_or(0);
        let frames = stack.get(..size).unwrap_or_default().chunks_exact(8);
        Some(Self {
            kind: *Kind::ALL.get(usize::from(header.head.kind))?,
            comm: c_str!(record, loop_record, head.comm),
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
    use crate::bpf::record::bytes;

    /// A record as bpf/bridge_loop.bpf.c writes it.
    pub fn record(
        kind: u32,
        unseen: u32,
        duration: u64,
        comm: &[u8; 16],
        stack: &[u64],
    ) -> Vec<u8> {
        let mut header = loop_record {
            duration,
            unseen: unseen as u16,
            stack_size: stack.len() as i32 * 8,
            ..loop_record::default()
        };
        header.head.time = 5_000_000_000;
        header.head.pid = 41;
        header.head.tid = 42;
        header.head.kind = kind as u16;
        header.head.comm = comm.map(|byte| byte.cast_signed());
        let mut record = bytes(&header).to_vec();
        record.extend(stack.iter().flat_map(|frame| frame.to_ne_bytes()));
        record
    }

    /// Check that the fields of a record are read, and that a record of any length is no cause for a panic.
    #[test]
    fn any_length() {
        let whole_bytes = record(1, 1, 7, b"ovs-vswitchd\0\0\0\0", &[0x10, 0x20]);
        let whole = Record::from_bytes(&whole_bytes).unwrap();
        assert_eq!((whole.kind, whole.header.duration), (Kind::Wait, 7));
        assert_eq!(whole.comm, b"ovs-vswitchd");
        assert_eq!(whole.stack, [0x10, 0x20]);
        for len in 0..whole_bytes.len() {
            let cut = Record::from_bytes(&whole_bytes[..len]);
            assert_eq!(cut.is_some(), len >= size_of::<loop_record>());
            assert!(cut.is_none_or(|cut| cut.stack.is_empty()));
        }
    }
}
