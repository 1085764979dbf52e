//! The inside of `nsh(...)`, and of the actions that set and push it.

use std::fmt;

use zerocopy::network_endian::U32;
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::super::text::hex;
use super::super::*;
use super::LOST;
use super::fields::{long_hex, number};
use super::mask::{self, Found, Masks};
use super::partial::{List, Wrote, bad_length, unknown, unknown_name};

/// A value, and which of its bits matter; all of them without a mask.
type Masked<'a, T> = (&'a T, Option<&'a T>);

/// The fields of an `nsh(...)`, which come from more than one attribute.
#[derive(Default)]
struct Nsh<'a> {
    base: Option<Masked<'a, NshBase>>,
    context: Option<Masked<'a, [U32; 4]>>,
    /// Whether the mask of a field is not known.
    lost: bool,
}

/// Writes the inside of `nsh(...)`: one list of fields, of which each attribute has some.
pub(super) fn nsh(
    mut attributes: Attributes<'_>,
    masks: &Masks<'_>,
    out: &mut impl fmt::Write,
) -> Wrote {
    let mut nsh = Nsh::default();
    for attribute in attributes.clone() {
        let (mask, lost) = match masks.find(attribute.kind, false) {
            Found::Exact => (None, false),
            Found::Mask(mask) => (Some(mask), false),
            Found::Wildcard => (Some(mask::wildcard(&attribute, false)), false),
            Found::Lost => (None, true),
        };
        match attribute.nsh_key() {
            NshKey::Base(base) => nsh.base = Some((base, mask::of(base, mask))),
            NshKey::Md1(words) => nsh.context = Some((words, mask::of(words, mask))),
            _ => continue,
        }
        nsh.lost |= lost;
    }
    let mut list = List::new(out);
    nsh.write(&mut list)?;
    for attribute in attributes.by_ref() {
        others(&attribute, &mut list)?;
    }
    list.end(&attributes)
}

/// Writes the inside of the `nsh(...)` that a masked set action has: the payload of each attribute is a value and its
/// mask.
pub(in crate::ovs) fn nsh_set(mut attributes: Attributes<'_>, out: &mut impl fmt::Write) -> Wrote {
    fn halves<'a, T>(attribute: &Attribute<'a>) -> Option<Masked<'a, T>>
    where
        T: FromBytes + Immutable + KnownLayout + Unaligned + 'a,
    {
        let (value, mask) = attribute.payload.split_at_checked(size_of::<T>())?;
        let mask = T::ref_from_bytes(mask).ok()?;
        let whole = attribute.is_complete();
        whole.then_some((T::ref_from_bytes(value).ok()?, Some(mask)))
    }
    let mut nsh = Nsh::default();
    for attribute in attributes.clone() {
        match attribute.kind {
            OVS_NSH_KEY_ATTR_BASE => nsh.base = halves(&attribute).or(nsh.base),
            OVS_NSH_KEY_ATTR_MD1 => nsh.context = halves(&attribute).or(nsh.context),
            _ => {}
        }
    }
    let mut list = List::new(out);
    nsh.write(&mut list)?;
    for attribute in attributes.by_ref() {
        let known = match attribute.kind {
            OVS_NSH_KEY_ATTR_BASE => halves::<NshBase>(&attribute).is_some(),
            OVS_NSH_KEY_ATTR_MD1 => halves::<[U32; 4]>(&attribute).is_some(),
            _ => false,
        };
        if !known {
            unknown(&attribute, list.item()?)?;
        }
    }
    list.end(&attributes)
}

/// Writes the inside of `push_nsh(...)`, which may have a context of metadata type 2, too.
pub(in crate::ovs) fn nsh_push(mut attributes: Attributes<'_>, out: &mut impl fmt::Write) -> Wrote {
    let mut nsh = Nsh::default();
    for attribute in attributes.clone() {
        match attribute.nsh_key() {
            NshKey::Base(base) => nsh.base = Some((base, None)),
            NshKey::Md1(words) => nsh.context = Some((words, None)),
            _ => {}
        }
    }
    let mut list = List::new(out);
    nsh.write(&mut list)?;
    for attribute in attributes.by_ref() {
        if attribute.kind == OVS_NSH_KEY_ATTR_MD2 && attribute.is_complete() {
            let out = list.item()?;
            out.write_str("md2=")?;
            long_hex(out, attribute.payload)?;
        } else {
            others(&attribute, &mut list)?;
        }
    }
    if nsh
        .base
        .is_some_and(|(base, _)| !matches!(base.mdtype, 1 | 2))
    {
        list.item()?.write_str("<error: unknown mdtype>")?;
    }
    list.end(&attributes)
}

/// Writes an attribute that has no place in the list of fields.
fn others(attribute: &Attribute<'_>, list: &mut List<'_, impl fmt::Write>) -> fmt::Result {
    match attribute.nsh_key() {
        NshKey::Base(_) | NshKey::Md1(_) => Ok(()),
        NshKey::Unknown | NshKey::Cut => unknown(attribute, list.item()?),
        NshKey::BadLength { expected } => {
            let out = list.item()?;
            unknown_name(attribute, out)?;
            out.write_str("(")?;
            bad_length(attribute, expected, out)?;
            out.write_str(")")
        }
    }
}

impl Nsh<'_> {
    fn write(&self, list: &mut List<'_, impl fmt::Write>) -> fmt::Result {
        if let Some((base, mask)) = self.base {
            let path = |base: &NshBase| (base.path_hdr.get() >> 8, base.path_hdr.get() as u8);
            let ((spi, si), (spi_mask, si_mask)) = (path(base), mask.map(path).unzip());
            byte(list, "flags=", base.flags, mask.map(|mask| mask.flags))?;
            byte(list, "ttl=", base.ttl, mask.map(|mask| mask.ttl))?;
            byte(list, "mdtype=", base.mdtype, mask.map(|mask| mask.mdtype))?;
            byte(list, "np=", base.np, mask.map(|mask| mask.np))?;
            word(
                list,
                "spi=",
                spi,
                spi_mask.filter(|mask| *mask != 0xff_ffff),
            )?;
            byte(list, "si=", si, si_mask)?;
        }
        if let Some((words, masks)) = self.context {
            for (index, name) in ["c1=", "c2=", "c3=", "c4="].iter().enumerate() {
                let mask = masks.map(|masks| masks[index].get());
                word(list, name, words[index].get(), mask)?;
            }
        }
        if self.lost {
            list.same_item().write_str(LOST)?;
        }
        Ok(())
    }
}

/// Writes a byte: in decimal, but in hexadecimal before a mask.
fn byte(
    list: &mut List<'_, impl fmt::Write>,
    name: &str,
    value: u8,
    mask: Option<u8>,
) -> fmt::Result {
    match mask {
        Some(0) => Ok(()),
        None | Some(u8::MAX) => number(list.item()?, name, value),
        Some(mask) => write!(list.item()?, "{name}{value:#04x}/{mask:#04x}"),
    }
}

fn word(
    list: &mut List<'_, impl fmt::Write>,
    name: &str,
    value: u32,
    mask: Option<u32>,
) -> fmt::Result {
    match mask {
        Some(0) => Ok(()),
        None | Some(u32::MAX) => {
            let out = list.item()?;
            out.write_str(name)?;
            hex(out, value.into())
        }
        Some(mask) => write!(list.item()?, "{name}{value:#x}/{mask:#010x}"),
    }
}
