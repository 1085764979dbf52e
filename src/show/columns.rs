//! The columns of a table.

use std::fmt::{self, Display, Write};

use serde::{Serialize, Serializer};

use crate::bpf::record::Head;
use crate::run::session::Past;
use crate::show::escape::Escaped;

impl Head<'_> {
    /// Writes the first columns of a row: seconds of `CLOCK_MONOTONIC`, CPU, name and id of the thread.
    pub fn columns(&self, text: &mut String) -> fmt::Result {
        column(text, 18, |text| time(text, self.time))?;
        column(text, 4, |text| write!(text, "{}", self.cpu))?;
        column(text, 16, |text| write!(text, "{}", Escaped(self.comm)))?;
        column(text, 10, |text| write!(text, "{}", self.tid))
    }
}

/// Appends a time as it is in the first column.
fn time(text: &mut String, ns: u64) -> fmt::Result {
    let (seconds, nanoseconds) = (ns / 1_000_000_000, ns % 1_000_000_000);
    write!(text, "{seconds}.{nanoseconds:09}")
}

/// What is said of an interval: with the time at which it ended in front of it, as the rows of a table have theirs. In
/// JSON the time is in fields of its own.
pub struct At<T>(pub Past, pub T);

impl<T: Display> Display for At<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        column(&mut text, 18, |text| time(text, self.0.time))?;
        write!(f, "{text}{}", self.1)
    }
}

impl<T: Serialize> Serialize for At<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.1.serialize(serializer)
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
