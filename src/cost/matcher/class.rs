//! Hashes that find a packet although only a part of it was captured. A class is a way to hash: how many bytes, and
//! which of them belong to an unfinished checksum.

use std::hash::{BuildHasher, Hasher};
use std::ops::Range;

use foldhash::fast::RandomState;

/// How many bytes of a packet are hashed at most.
pub const MAX_PREFIX: usize = 256;
/// How many ways to hash are tried to find a packet.
const MAX_CLASSES: usize = 64;

/// A way to hash: the first `len` bytes of a packet without those of an unfinished checksum.
#[derive(PartialEq, Eq)]
struct Class {
    len: usize,
    checksum: Range<usize>,
    /// The packets were not captured to their ends.
    partial: bool,
    /// How many packets in flight are of this class.
    live: u32,
}

/// How many bytes of a packet are hashed if this many were captured. Lengths are rounded so that there are few classes.
fn prefix(captured: usize) -> usize {
    if captured >= MAX_PREFIX {
        MAX_PREFIX
    } else if captured >= 8 {
        captured & !7
    } else {
        captured
    }
}

/// The classes of the packets in flight.
#[derive(Default)]
pub struct Classes {
    classes: Vec<Class>,
    hasher: RandomState,
}

impl Classes {
    /// Counts one more of the class of a packet of which `bytes` were captured, and returns the number of the class and
    /// the packet's hash.
    pub fn add(&mut self, size: u32, bytes: &[u8], checksum: &Range<usize>) -> (usize, u64) {
        let len = prefix(bytes.len());
        let class = self.class(Class {
            len,
            checksum: checksum.start.min(len)..checksum.end.min(len),
            partial: bytes.len() < size as usize,
            live: 1,
        });
        (class, self.hash(&self.classes[class], size, bytes))
    }

    /// Counts one less of a class.
    pub fn remove(&mut self, class: usize) {
        self.classes[class].live -= 1;
    }

    /// The hashes under which a packet may be found, one for each class.
    pub fn hashes(&self, size: u32, bytes: &[u8]) -> impl Iterator<Item = u64> {
        let own = prefix(bytes.len());
        self.classes
            .iter()
            .filter(move |class| {
                class.live > 0 && class.len <= bytes.len() && (class.len == own || class.partial)
            })
            .map(move |class| self.hash(class, size, bytes))
    }

    fn hash(&self, class: &Class, size: u32, bytes: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        let Range { start, end } = class.checksum;
        hasher.write_u64(u64::from(size) << 32 | (start as u64) << 16 | class.len as u64);
        let bytes = &bytes[..class.len];
        hasher.write(&bytes[..start]);
        hasher.write(&bytes[end..]);
        hasher.finish()
    }

    /// Counts one more of a class, and returns its number.
    fn class(&mut self, wanted: Class) -> usize {
        let known = self.classes.iter().position(|class| {
            (class.len, &class.checksum, class.partial)
                == (wanted.len, &wanted.checksum, wanted.partial)
        });
        if let Some(class) = known {
            self.classes[class].live += 1;
            return class;
        }
        let unused = self.classes.iter().position(|class| class.live == 0);
        match unused {
            Some(class) => {
                self.classes[class] = wanted;
                class
            }
            None if self.classes.len() < MAX_CLASSES || wanted.len == 0 => {
                self.classes.push(wanted);
                self.classes.len() - 1
            }
            // Packets that would need more classes share one, which hashes nothing but their size.
            None => self.class(Class {
                len: 0,
                checksum: 0..0,
                partial: true,
                live: 1,
            }),
        }
    }
}
