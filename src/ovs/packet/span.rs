//! The bytes that a decoder works on.

/// The undecoded bytes of a header or payload.
#[derive(Clone, Copy)]
pub(super) struct Span<'a> {
    pub(super) bytes: &'a [u8],
    /// The packet goes on behind `bytes`, but the capture does not.
    pub(super) cut: bool,
}

/// Why a layer is not decoded to its end.
pub(super) enum Halt {
    /// The next field is not whole.
    End { cut: bool },
    /// `field` has a value that the protocol forbids.
    Invalid { field: &'static str, value: u64 },
    /// What follows has the format that `field` says, and that is not known here: mostly another version.
    Undecoded { field: &'static str, value: u64 },
}

impl<'a> Span<'a> {
    pub(super) const EMPTY: Self = Span {
        bytes: &[],
        cut: false,
    };

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn end(&self) -> Halt {
        Halt::End { cut: self.cut }
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Halt> {
        let (head, tail) = self.bytes.split_first_chunk::<N>().ok_or(self.end())?;
        self.bytes = tail;
        Ok(*head)
    }

    pub(super) fn bytes(&mut self, len: usize) -> Result<&'a [u8], Halt> {
        let (head, tail) = self.bytes.split_at_checked(len).ok_or(self.end())?;
        self.bytes = tail;
        Ok(head)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Halt> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Halt> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u24(&mut self) -> Result<u32, Halt> {
        self.array()
            .map(|[a, b, c]| u32::from_be_bytes([0, a, b, c]))
    }

    pub(super) fn u32(&mut self) -> Result<u32, Halt> {
        self.array().map(u32::from_be_bytes)
    }

    /// A number of `len` bytes, at most 8.
    pub(super) fn number(&mut self, len: usize) -> Result<u64, Halt> {
        let bytes = self.bytes(len)?;
        let shifted = |sum, byte: &u8| sum << 8 | u64::from(*byte);
        Ok(bytes.iter().fold(0, shifted))
    }

    /// All bytes that remain.
    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.bytes)
    }

    /// Splits off the next `len` bytes, or as many of them as there are. The cut is in the part
    /// which is not whole.
    pub(super) fn split(&mut self, len: usize) -> Span<'a> {
        match self.bytes.split_at_checked(len) {
            Some((head, tail)) => {
                self.bytes = tail;
                Span {
                    bytes: head,
                    cut: false,
                }
            }
            None => std::mem::replace(self, Span::EMPTY),
        }
    }
}
