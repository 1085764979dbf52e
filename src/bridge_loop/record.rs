//! A run or a wait as the kernel delivers it.

use super::{Group, Kind};
use crate::bpf::bridge_loop::types::{held, loop_record};
use crate::bpf::record::read;
use crate::c_str;

/// One run or wait that gets a line.
pub struct Record<'a> {
    pub header: loop_record,
    pub kind: Kind,
    /// The name of the thread.
    pub comm: &'a [u8],
    /// What the thread is.
    pub group: Group,
    /// What held a run up, if the kernel was asked.
    pub held: Option<held>,
    /// Addresses, the innermost first.
    pub stack: Vec<u64>,
}

impl<'a> Record<'a> {
    /// Reads a `struct loop_record` (bpf/bridge_loop.h); nothing if it is too short for one.
    pub fn from_bytes(record: &'a [u8]) -> Option<Self> {
        let (header, rest) = read::<loop_record>(record)?;
        let (held, stack) = match header.has_held {
            0 => (None, rest),
            _ => read::<held>(rest).map(|(held, stack)| (Some(held), stack))?,
        };
        let size = usize::try_from(header.stack_size).unwrap_or(0);
        let frames = stack.get(..size).unwrap_or_default().chunks_exact(8);
        Some(Self {
            kind: *Kind::ALL.get(usize::from(header.head.kind))?,
            comm: c_str!(record, loop_record, head.comm),
            group: *Group::ALL.get(usize::from(header.group))?,
            held,
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

    /// Check that what held a run up is between the head and the stack, and that a record which is too short for it is
    /// not taken for one without.
    #[test]
    fn with_held() {
        let mut header = read::<loop_record>(&record(0, 0, 7, b"handler1\0\0\0\0\0\0\0\0", &[]))
            .unwrap()
            .0;
        header.has_held = 1;
        header.group = 1;
        header.stack_size = 8;
        let held = held {
            off_cpu: 5,
            ..held::default()
        };
        let mut record = bytes(&header).to_vec();
        record.extend(bytes(&held));
        record.extend(9u64.to_ne_bytes());
        let whole = Record::from_bytes(&record).unwrap();
        assert_eq!(whole.group, Group::Handler);
        assert_eq!(whole.held.unwrap().off_cpu, 5);
        assert_eq!(whole.stack, [9]);
        let head = size_of::<loop_record>();
        assert!(Record::from_bytes(&record[..head + 8]).is_none());
    }
}
