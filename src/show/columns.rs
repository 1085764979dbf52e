//! The columns of a table.

use std::fmt::{self, Write};

use crate::bpf::record::Head;
use crate::show::escape::Escaped;

impl Head<'_> {
    /// Writes the first columns of a row: seconds of `CLOCK_MONOTONIC`, CPU, name and id of the thread.
    pub fn columns(&self, text: &mut String) -> fmt::Result {
        let (seconds, nanoseconds) = (self.time / 1_000_000_000, self.time % 1_000_000_000);
        column(text, 18, |text| write!(text, "{seconds}.{nanoseconds:09}"))?;
        column(text, 4, |text| write!(text, "{}", self.cpu))?;
        column(text, 16, |text| write!(text, "{}", Escaped(self.comm)))?;
        column(text, 10, |text| write!(text, "{}", self.tid))
    }
}

/// Appends a number. The eight numbers of a row would take half of its time through `write!`.
pub fn decimal(text: &mut String, number: impl itoa::Integer) {
    text.push_str(itoa::Buffer::new().format(number));
}

/// Appends a value, padded to `width` characters, and the space behind a column.
pub fn column(
    text: &mut String,
    width: usize,
    value: impl FnOnce(&mut String) -> fmt::Result,
) -> fmt::Result {
    let start = text.len();
    value(text)?;
    let shown = &text[start..];
    let shown = if shown.is_ascii() {
        shown.len()
    } else {
        shown.chars().count()
    };
    /// As wide as the widest column.
    const SPACES: &str = "                                         ";
    text.push_str(&SPACES[..width.saturating_sub(shown) + 1]);
    Ok(())
}
