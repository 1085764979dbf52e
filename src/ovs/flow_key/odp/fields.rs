//! The fields of one attribute: a name, a value, and which of its bits matter.

use std::fmt;
use std::net::Ipv6Addr;
use std::ops::Not;

use super::super::Attributes;
use super::super::text::{alt_hex, dec, hex, hex_byte, hex_bytes};
use super::names::Flag;
use super::partial::{List, Wrote};

/// The fields of an attribute, joined by commas. A field of which no bit matters is shown only if `verbose` is set; a
/// field of which only some bits matter is followed by its mask: `src=10.0.0.0/255.255.255.0`.
///
/// Without `MASKED` there are no masks, and no code for them: the keys of upcalls, which are many, have no masks.
pub(super) struct Fields<'w, W, const MASKED: bool> {
    list: List<'w, W>,
    verbose: bool,
}

impl<'w, W: fmt::Write, const MASKED: bool> Fields<'w, W, MASKED> {
    pub fn new(out: &'w mut W, verbose: bool) -> Self {
        Fields {
            list: List::new(out),
            verbose,
        }
    }

    /// Where to write a field, after its name, which begins with a comma; `None` if it is not shown.
    #[inline]
    pub fn field(&mut self, name: &str, wildcard: bool) -> Result<Option<&mut W>, fmt::Error> {
        if MASKED && wildcard && !self.verbose {
            return Ok(None);
        }
        self.list.named_item(name).map(Some)
    }

    /// Where to write what is always shown.
    pub fn item(&mut self) -> Result<&mut W, fmt::Error> {
        self.list.item()
    }

    /// Where to write what belongs to the last field.
    pub fn same_field(&mut self) -> &mut W {
        self.list.same_item()
    }

    pub fn verbose(&self) -> bool {
        self.verbose
    }

    /// Says why the run of attributes behind the fields ended early, if its last one does not.
    pub fn end(self, attributes: &Attributes<'_>) -> Wrote {
        self.list.end(attributes)
    }

    /// A number in decimal.
    #[inline]
    pub fn dec<N: Number>(&mut self, name: &str, value: N, mask: Option<N>) -> fmt::Result {
        let mask = mask.filter(|_| MASKED);
        if let Some(out) = self.field(name, mask.is_some_and(is_zero))? {
            dec(out, value.into())?;
            mask_of_number(out, mask)?;
        }
        Ok(())
    }

    /// A number in hexadecimal; zero as `0`.
    #[inline]
    pub fn hex<N: Number>(&mut self, name: &str, value: N, mask: Option<N>) -> fmt::Result {
        let mask = mask.filter(|_| MASKED);
        if let Some(out) = self.field(name, mask.is_some_and(is_zero))? {
            alt_hex(out, value.into().into())?;
            mask_of_number(out, mask)?;
        }
        Ok(())
    }

    #[inline]
    pub fn mac(&mut self, name: &str, address: &[u8; 6], mask: Option<&[u8; 6]>) -> fmt::Result {
        let mask = mask.filter(|_| MASKED);
        if let Some(out) = self.field(name, mask.is_some_and(|mask| *mask == [0; 6]))? {
            hex_bytes(out, address, ":")?;
            if let Some(mask) = mask.filter(|mask| **mask != [0xff; 6]) {
                out.write_str("/")?;
                hex_bytes(out, mask, ":")?;
            }
        }
        Ok(())
    }

    #[inline]
    pub fn ipv4(&mut self, name: &str, address: &[u8; 4], mask: Option<&[u8; 4]>) -> fmt::Result {
        let mask = mask.filter(|_| MASKED);
        if let Some(out) = self.field(name, mask.is_some_and(|mask| *mask == [0; 4]))? {
            dotted(out, address)?;
            if let Some(mask) = mask.filter(|mask| **mask != [0xff; 4]) {
                ipv4(out, "/", mask)?;
            }
        }
        Ok(())
    }

    pub fn ipv6(&mut self, name: &str, address: &[u8; 16], mask: Option<&[u8; 16]>) -> fmt::Result {
        let mask = mask.filter(|_| MASKED);
        if let Some(out) = self.field(name, mask.is_some_and(|mask| *mask == [0; 16]))? {
            ipv6(out, "", address)?;
            if let Some(mask) = mask.filter(|mask| **mask != [0xff; 16]) {
                ipv6(out, "/", mask)?;
            }
        }
        Ok(())
    }

    /// The flow label of IPv6: 20 bits, whose upper neighbours may or may not be in the mask.
    pub fn ipv6_label(&mut self, label: u32, mask: Option<u32>) -> fmt::Result {
        let mask = mask.filter(|_| MASKED);
        if let Some(out) = self.field(",label=", mask.is_some_and(is_zero))? {
            alt_hex(out, label.into())?;
            mask_of_number(out, mask.filter(|mask| !mask & 0xf_ffff != 0))?;
        }
        Ok(())
    }

    /// `OVS_FRAG_TYPE_*`, of which either all bits matter or none.
    pub fn frag(&mut self, kind: u8, mask: Option<u8>) -> fmt::Result {
        match mask.filter(|_| MASKED) {
            Some(0) => Ok(()),
            None | Some(0xff) => {
                let text = match kind {
                    0 => ",frag=no",
                    1 => ",frag=first",
                    2 => ",frag=later",
                    _ => ",frag=<error>",
                };
                self.list.named_item(text).map(drop)
            }
            Some(mask) => write!(
                self.list.item()?,
                "error: partial mask not supported for frag ({mask:#x})"
            ),
        }
    }
}

/// An unsigned number of at most 32 bits.
pub(super) trait Number: Copy + Eq + Default + Not<Output = Self> + Into<u32> {}

impl<N: Copy + Eq + Default + Not<Output = N> + Into<u32>> Number for N {}

pub(super) fn is_zero<N: Number>(number: N) -> bool {
    number == N::default()
}

/// Writes the mask of a number, if not all of its bits matter.
pub(super) fn mask_of_number<N: Number>(out: &mut impl fmt::Write, mask: Option<N>) -> fmt::Result {
    match mask {
        Some(mask) if !is_zero(!mask) => {
            out.write_str("/")?;
            alt_hex(out, mask.into().into())
        }
        _ => Ok(()),
    }
}

/// Writes the names of the bits that are set, and the bits without a name as one number:
/// `new|trk|0x100`.
pub(in crate::ovs) fn flags(
    out: &mut impl fmt::Write,
    set: u32,
    names: &[Flag],
    separator: &str,
) -> fmt::Result {
    if set == 0 {
        return out.write_str("0");
    }
    let (mut unnamed, mut between) = (set, "");
    for (bit, name) in names {
        if set & bit != 0 {
            out.write_str(between)?;
            out.write_str(name)?;
            between = separator;
            unnamed &= !bit;
        }
    }
    if unnamed != 0 {
        out.write_str(between)?;
        hex(out, unnamed.into())?;
    }
    Ok(())
}

/// Writes flags of which only those in `mask` matter, `+new-est`; as [`flags`] if all of them in `all` do.
pub(super) fn flags_masked(
    out: &mut impl fmt::Write,
    set: u32,
    mask: Option<u32>,
    all: u32,
    names: &[Flag],
) -> fmt::Result {
    let mask = match mask.map(|mask| mask & all) {
        Some(0) => return out.write_str("0/0"),
        Some(mask) if mask != all => mask,
        _ => return flags(out, set, names, "|"),
    };
    for bit in (0..u32::BITS).map(|bit| 1 << bit) {
        if mask & bit != 0 {
            out.write_str(if set & bit != 0 { "+" } else { "-" })?;
            let name = names.iter().find(|(named, _)| *named == bit);
            out.write_str(name.map_or("[Unknown]", |(_, name)| name))?;
        }
    }
    Ok(())
}

pub(in crate::ovs) fn number(
    out: &mut impl fmt::Write,
    name: &str,
    value: impl Into<u32>,
) -> fmt::Result {
    out.write_str(name)?;
    dec(out, value.into())
}

/// Writes a number in hexadecimal, and zero as `0`.
pub(in crate::ovs) fn hex_number(
    out: &mut impl fmt::Write,
    name: &str,
    value: impl Into<u32>,
) -> fmt::Result {
    out.write_str(name)?;
    alt_hex(out, value.into().into())
}

/// Writes a number of 16 bits as `0x0800`.
pub(in crate::ovs) fn hex4(out: &mut impl fmt::Write, value: u16) -> fmt::Result {
    let [high, low] = value.to_be_bytes();
    out.write_str("0x")?;
    hex_byte(out, high)?;
    hex_byte(out, low)
}

/// Writes bytes as one number in hexadecimal, and zero as `0`.
pub(in crate::ovs) fn long_hex(out: &mut impl fmt::Write, bytes: &[u8]) -> fmt::Result {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let Some((first, rest)) = bytes[zeros..].split_first() else {
        return out.write_str("0");
    };
    hex(out, (*first).into())?;
    hex_bytes(out, rest, "")
}

pub(in crate::ovs) fn mac(out: &mut impl fmt::Write, name: &str, address: &[u8; 6]) -> fmt::Result {
    out.write_str(name)?;
    hex_bytes(out, address, ":")
}

pub(in crate::ovs) fn ipv4(
    out: &mut impl fmt::Write,
    name: &str,
    address: &[u8; 4],
) -> fmt::Result {
    out.write_str(name)?;
    dotted(out, address)
}

fn dotted(out: &mut impl fmt::Write, [a, b, c, d]: &[u8; 4]) -> fmt::Result {
    dec(out, (*a).into())?;
    number(out, ".", *b)?;
    number(out, ".", *c)?;
    number(out, ".", *d)
}

/// Writes an address as the C library's `inet_ntop()` does: `::1.2.3.4` for the deprecated
/// IPv4-compatible ones, which `Ipv6Addr` writes as `::102:304`.
pub(in crate::ovs) fn ipv6(
    out: &mut impl fmt::Write,
    name: &str,
    address: &[u8; 16],
) -> fmt::Result {
    match address {
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d] if (*a, *b) != (0, 0) => {
            out.write_str(name)?;
            ipv4(out, "::", &[*a, *b, *c, *d])
        }
        _ => write!(out, "{name}{}", Ipv6Addr::from(*address)),
    }
}
