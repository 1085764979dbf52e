//! What the programs copy from the traced process.

use std::fmt::{self, Display};
use std::io;

use crate::show::message::cause;
use crate::show::number::number;

/// Bytes copied from the traced process, of which the kernel or a snap length may have cut the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Captured<'a> {
    /// Length in the traced process, in bytes.
    pub len: u32,
    /// What was copied: a prefix of the original; empty if it was not asked for or could not be read.
    pub bytes: &'a [u8],
    /// The errno with which reading the traced process's memory failed. `bytes` is empty then.
    pub error: Option<i32>,
}

/// `220 bytes`, and what there is to say if not all of them were copied.
impl Display for Captured<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", number(self.len, "bytes"))?;
        match self.error {
            Some(errno) => {
                let cause = cause(&io::Error::from_raw_os_error(errno));
                write!(f, ", which could not be read: {cause}")
            }
            None if self.bytes.len() < self.len as usize => {
                write!(f, ", {} captured", self.bytes.len())
            }
            None => Ok(()),
        }
    }
}
