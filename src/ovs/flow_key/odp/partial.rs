//! Lists of attributes, and what to say where one is cut, damaged or unknown.

use std::fmt;

use super::super::text::{dec, hex_bytes};
use super::super::*;

/// Whether a list has a first item, to which a next one needs a separator.
pub(in crate::ovs) type Wrote = Result<bool, fmt::Error>;

/// Items joined by commas.
pub(in crate::ovs) struct List<'w, W> {
    out: &'w mut W,
    wrote: bool,
}

impl<'w, W: fmt::Write> List<'w, W> {
    pub fn new(out: &'w mut W) -> Self {
        List { out, wrote: false }
    }

    /// Where to write the next item.
    pub fn item(&mut self) -> Result<&mut W, fmt::Error> {
        if self.wrote {
            self.out.write_str(",")?;
        }
        self.wrote = true;
        Ok(self.out)
    }

    /// Where to write the next item, after its name. The name begins with a comma, which the first item does not have:
    /// this is one write instead of two, and a key has dozens of items.
    #[inline]
    pub fn named_item(&mut self, name: &str) -> Result<&mut W, fmt::Error> {
        let first = name.strip_prefix(',').unwrap_or(name);
        self.out.write_str(if self.wrote { name } else { first })?;
        self.wrote = true;
        Ok(self.out)
    }

    /// Where to write what belongs to the last item.
    pub fn same_item(&mut self) -> &mut W {
        self.out
    }

    /// Says why the run of attributes behind the list ended early, if its last item does not.
    pub fn end(self, attributes: &Attributes<'_>) -> Wrote {
        self.end_in(attributes).map(|(wrote, _)| wrote)
    }

    /// As [`end`](Self::end), and returns where it was written.
    pub fn end_in(mut self, attributes: &Attributes<'_>) -> Result<(bool, &'w mut W), fmt::Error> {
        match attributes.stopped() {
            None | Some(Stop::Cut { .. }) => {}
            Some(Stop::Header { at, left }) => {
                write!(self.item()?, "<cut at byte {at}: {left} of 4 header bytes>")?;
            }
            Some(Stop::Short { at, len }) => {
                write!(self.item()?, "<nla_len {len} < 4 at byte {at}>")?;
            }
        }
        Ok((self.wrote, self.out))
    }
}

/// Writes a nested attribute that is not decoded.
pub(in crate::ovs) fn unknown(attribute: &Attribute<'_>, out: &mut impl fmt::Write) -> fmt::Result {
    unknown_name(attribute, out)?;
    out.write_str("(")?;
    payload(attribute, out)?;
    out.write_str(")")
}

/// Writes the bytes of an attribute that is not decoded.
pub(in crate::ovs) fn payload(attribute: &Attribute<'_>, out: &mut impl fmt::Write) -> fmt::Result {
    if attribute.is_complete() {
        hex_bytes(out, attribute.payload, " ")
    } else {
        cut(attribute, attribute.payload, out)
    }
}

pub(super) fn unknown_name(attribute: &Attribute<'_>, out: &mut impl fmt::Write) -> fmt::Result {
    out.write_str("key")?;
    dec(out, attribute.kind.into())
}

/// Ends the inside of a nested attribute: says so if it is cut.
pub(in crate::ovs) fn nested_end(
    attribute: &Attribute<'_>,
    wrote: bool,
    out: &mut impl fmt::Write,
) -> fmt::Result {
    if attribute.is_complete() {
        return Ok(());
    }
    out.write_str(if wrote { "," } else { "" })?;
    cut(attribute, &[], out)
}

/// Writes where a payload is cut, and the `undecoded` bytes of it.
pub(in crate::ovs) fn cut(
    attribute: &Attribute<'_>,
    undecoded: &[u8],
    out: &mut impl fmt::Write,
) -> fmt::Result {
    let (have, len) = (attribute.payload.len(), attribute.payload_len());
    write!(out, "<cut at byte {}: {have} of {len} bytes", attribute.at)?;
    if !undecoded.is_empty() {
        out.write_str(": ")?;
        hex_bytes(out, undecoded, " ")?;
    }
    out.write_str(">")
}

/// Writes a payload of a wrong length. Closes a bracket and opens another.
pub(in crate::ovs) fn bad_length(
    attribute: &Attribute<'_>,
    expected: usize,
    out: &mut impl fmt::Write,
) -> fmt::Result {
    write!(
        out,
        "bad key length {}, expected {expected})(",
        attribute.payload.len()
    )?;
    hex_bytes(out, attribute.payload, " ")
}
