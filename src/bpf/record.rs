//! The C structs that BPF programs write, and their bytes.

use crate::bpf::dpif_ops::types::event_head;

/// A C struct of integers and arrays of them, as the bindings have it.
///
/// # Safety
/// It is `repr(C)`, any bytes are a valid value, and it has no padding between or behind its fields.
pub unsafe trait Plain: Copy {}

/// The struct that `bytes` begin with, and what follows it; `None` if there are too few bytes. The bytes need no
/// alignment.
pub fn read<T: Plain>(bytes: &[u8]) -> Option<(T, &[u8])> {
    let (head, rest) = bytes.split_at_checked(size_of::<T>())?;
    // SAFETY: `head` has as many bytes as T, for which any bytes are valid, and an unaligned read needs no alignment.
    let value = unsafe { head.as_ptr().cast::<T>().read_unaligned() };
    Some((value, rest))
}

/// The bytes that [`read`] makes the same struct of.
pub fn bytes<T: Plain>(value: &T) -> &[u8] {
    // SAFETY: the pointer and the length are those of `value`, all bytes of which are initialized: it has no padding.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
}

/// A string of C in a field of fixed size: the bytes before the first NUL, or all of them.
pub fn c_str(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// The string in the field of `struct` at the beginning of `bytes`, as in `c_str!(bytes, upcall_record, head.comm)`.
/// It panics unless [`read`] has read that struct from `bytes`.
#[macro_export]
macro_rules! c_str {
    ($bytes:expr, $struct:ty, $($field:ident).+) => {{
        const OFFSET: usize = std::mem::offset_of!($struct, $($field).+);
        let size = |value: &$struct| size_of_val(&value.$($field).+);
        $crate::bpf::record::c_str(&$bytes[OFFSET..][..size(&Default::default())])
    }};
}

/// What each record begins with: `struct event_head` of `bpf/event.h`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head<'a> {
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub time: u64,
    /// The current task.
    pub pid: u32,
    pub tid: u32,
    pub cpu: u32,
    /// An enum of the tool.
    pub kind: u16,
    /// Which of the traced daemons, from 0 on.
    pub target: u16,
    /// Name of the thread, at most 15 bytes.
    pub comm: &'a [u8],
}

impl<'a> Head<'a> {
    /// Reads the head of a record; `None` if there are too few bytes.
    pub fn read(record: &'a [u8]) -> Option<Self> {
        let (head, _) = read::<event_head>(record)?;
        Some(Self {
            time: head.time,
            pid: head.pid,
            tid: head.tid,
            cpu: head.cpu,
            kind: head.kind,
            target: head.target,
            comm: crate::c_str!(record, event_head, comm),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    #[repr(C)]
    struct Pair {
        number: u32,
        name: [i8; 4],
        data: [u8; 0],
    }
    // SAFETY: its fields are of 4, 4 and 0 bytes, aligned to 4.
    unsafe impl Plain for Pair {}

    /// Check that a struct is read at any alignment, with what follows it, and not from too few bytes.
    #[test]
    fn read_and_write() {
        let pair = Pair {
            number: 0x0102_0304,
            name: b"ab\0c".map(|byte| byte as i8),
            data: [],
        };
        for offset in 0..4 {
            let all = [&[9; 4][..offset], bytes(&pair), b"rest"].concat();
            let all = &all[offset..];
            assert_eq!(read::<Pair>(all), Some((pair, &b"rest"[..])));
            assert_eq!(crate::c_str!(all, Pair, name), b"ab");
            for len in 0..size_of::<Pair>() {
                assert_eq!(read::<Pair>(&all[..len]), None);
            }
        }
    }

    /// Check that a string ends at its first NUL or with its field.
    #[test]
    fn strings() {
        assert_eq!(c_str(b"handler1\0garbage"), b"handler1");
        assert_eq!(c_str(b"handler1"), b"handler1");
        assert_eq!(c_str(b"\0garbage"), b"");
        assert_eq!(c_str(b""), b"");
    }
}
