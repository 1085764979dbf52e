//! What the programs copy from the traced process.

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
