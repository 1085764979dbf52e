//! Whether two events may be of the same packet, of which each of them knows only a part.

use crate::bpf::record::c_str;
use crate::ovs::packet::Link;
use std::ops::Range;

/// A name of at most `N` bytes; the rest of a longer one is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name<const N: usize>([u8; N]);

impl<const N: usize> Name<N> {
    pub fn new(name: &[u8]) -> Self {
        let mut bytes = [0; N];
        let len = name.len().min(N);
        bytes[..len].copy_from_slice(&name[..len]);
        Self(bytes)
    }

    pub fn bytes(&self) -> &[u8] {
        c_str(&self.0)
    }
}

/// What is known of a packet whose kernel upcall is to be found.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    pub datapath: &'a [u8],
    pub upcall_type: u32,
    pub port: Option<u32>,
    pub size: u32,
    pub link: Link,
    pub bytes: &'a [u8],
    /// It came in a message whose address is known, and was not found by that.
    pub of_message: bool,
}

/// Whether two ports are equal, of which an unknown one may be any.
pub fn same_port(a: Option<u32>, b: Option<u32>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a == b,
        _ => true,
    }
}

/// Whether two link types are equal, of which an unknown one may be any.
pub fn same_link(a: Link, b: Link) -> bool {
    a == b || a == Link::Unknown || b == Link::Unknown
}

/// Whether two packets are equal in the bytes that were captured of both, except for a checksum. Without any such bytes
/// they are not.
pub fn same_bytes(a: &[u8], b: &[u8], checksum: &Range<usize>) -> bool {
    let len = a.len().min(b.len());
    let (a, b) = (&a[..len], &b[..len]);
    let (start, end) = (checksum.start.min(len), checksum.end.min(len));
    len > 0 && a[..start] == b[..start] && a[end..] == b[end..]
}
