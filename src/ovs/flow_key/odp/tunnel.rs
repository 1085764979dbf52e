//! The inside of `tunnel(...)`.

use std::fmt;

use zerocopy::FromBytes;

use super::super::text::{alt_hex, hex};
use super::super::*;
use super::LOST;
use super::fields::{Fields, flags_masked, hex_number, long_hex};
use super::mask::{self, Found, Masks};
use super::names::*;
use super::partial::{List, Wrote, bad_length, cut, nested_end, payload, unknown, unknown_name};

/// Writes the inside of `tunnel(...)`: its flags come last, wherever their attributes are.
pub(super) fn tunnel<const MASKED: bool>(
    mut attributes: Attributes<'_>,
    masks: &Masks<'_>,
    verbose: bool,
    complete: bool,
    out: &mut impl fmt::Write,
) -> Wrote {
    let mut set = 0;
    let mut fields = Fields::<_, MASKED>::new(out, verbose);
    for attribute in attributes.by_ref() {
        let nested = attribute.kind == OVS_TUNNEL_KEY_ATTR_VXLAN_OPTS;
        let found = if MASKED {
            masks.find(attribute.kind, nested)
        } else {
            Found::Exact
        };
        let (mask, lost) = match found {
            Found::Exact => (None, false),
            Found::Mask(mask) => (Some(mask), false),
            Found::Wildcard => (Some(mask::wildcard(&attribute, nested)), false),
            Found::Lost => (None, true),
        };
        match attribute.tunnel_key() {
            TunnelKey::Oam => set |= TUNNEL_OAM,
            TunnelKey::DontFragment => set |= TUNNEL_DF,
            TunnelKey::Csum => set |= TUNNEL_CSUM,
            TunnelKey::Pad => {}
            key => {
                if matches!(key, TunnelKey::Id(_)) {
                    set |= TUNNEL_KEY;
                }
                tunnel_field::<MASKED>(&attribute, key, mask, &mut fields)?;
                if lost {
                    fields.same_field().write_str(LOST)?;
                }
            }
        }
    }
    let masked = (MASKED && !masks.are_exact()).then(|| {
        let flags = masks.iter().map(|mask| match mask.kind {
            OVS_TUNNEL_KEY_ATTR_DONT_FRAGMENT => TUNNEL_DF,
            OVS_TUNNEL_KEY_ATTR_CSUM => TUNNEL_CSUM,
            OVS_TUNNEL_KEY_ATTR_OAM => TUNNEL_OAM,
            _ => 0,
        });
        flags.fold(set & TUNNEL_KEY, |all, flag| all | flag)
    });
    if (complete || set != 0)
        && let Some(out) = fields.field(",flags(", masked == Some(0))?
    {
        flags_masked(out, set, masked, TUNNEL_ALL, &TUNNEL_FLAGS)?;
        out.write_str(")")?;
        if MASKED && masks.are_cut() {
            out.write_str(LOST)?;
        }
    }
    fields.end(&attributes)
}

/// Writes what one attribute of a tunnel says, but for flags.
fn tunnel_field<const MASKED: bool>(
    attribute: &Attribute<'_>,
    key: TunnelKey<'_>,
    mask: Option<Attribute<'_>>,
    fields: &mut Fields<'_, impl fmt::Write, MASKED>,
) -> fmt::Result {
    let byte = || Some(mask?.payload.first().copied().unwrap_or_default());
    match key {
        TunnelKey::Id(id) => {
            let mask = mask.map(|mask| mask.payload.try_into().map_or(0, u64::from_be_bytes));
            let Some(out) = fields.field(",tun_id=", mask == Some(0))? else {
                return Ok(());
            };
            hex(out, id)?;
            match mask {
                None | Some(u64::MAX) => Ok(()),
                Some(mask) => {
                    out.write_str("/")?;
                    alt_hex(out, mask)
                }
            }
        }
        TunnelKey::Ipv4Src(ip) => fields.ipv4(",src=", &ip, mask::of(&ip, mask)),
        TunnelKey::Ipv4Dst(ip) => fields.ipv4(",dst=", &ip, mask::of(&ip, mask)),
        TunnelKey::Ipv6Src(ip) => fields.ipv6(",ipv6_src=", &ip, mask::of(&ip, mask)),
        TunnelKey::Ipv6Dst(ip) => fields.ipv6(",ipv6_dst=", &ip, mask::of(&ip, mask)),
        TunnelKey::Tos(tos) => fields.hex(",tos=", tos, byte()),
        TunnelKey::Ttl(ttl) => fields.dec(",ttl=", ttl, byte()),
        TunnelKey::TpSrc(port) => fields.dec(",tp_src=", port, mask::net16(mask)),
        TunnelKey::TpDst(port) => fields.dec(",tp_dst=", port, mask::net16(mask)),
        other => {
            let out = fields.item()?;
            match attribute.kind {
                OVS_TUNNEL_KEY_ATTR_GENEVE_OPTS => out.write_str("geneve")?,
                OVS_TUNNEL_KEY_ATTR_VXLAN_OPTS => out.write_str("vxlan")?,
                OVS_TUNNEL_KEY_ATTR_ERSPAN_OPTS => out.write_str("erspan")?,
                OVS_TUNNEL_KEY_ATTR_GTPU_OPTS if attribute.len != 4 => out.write_str("gtpu")?,
                _ => unknown_name(attribute, out)?,
            }
            out.write_str("(")?;
            tunnel_options::<MASKED>(attribute, other, mask, fields)?;
            fields.same_field().write_str(")")
        }
    }
}

/// Writes the inside of those tunnel attributes that have brackets of their own.
fn tunnel_options<const MASKED: bool>(
    attribute: &Attribute<'_>,
    key: TunnelKey<'_>,
    mask: Option<Attribute<'_>>,
    fields: &mut Fields<'_, impl fmt::Write, MASKED>,
) -> fmt::Result {
    let verbose = fields.verbose();
    let out = fields.same_field();
    match key {
        TunnelKey::Geneve(options) => match mask {
            Some(mask) if mask.payload.len() != options.len() => write!(
                out,
                "value len {} different from mask len {}",
                options.len(),
                mask.payload.len()
            ),
            _ => geneve::<MASKED>(options, mask.map(|mask| mask.payload), verbose, out),
        },
        TunnelKey::Vxlan(nested) => {
            let wrote = vxlan::<MASKED>(nested, &Masks::in_attribute(mask), verbose, out)?;
            nested_end(attribute, wrote, out)
        }
        TunnelKey::Erspan(erspan) => {
            let mask = mask.and_then(|mask| ErspanMetadata::ref_from_bytes(mask.payload).ok());
            let mut fields = Fields::<_, MASKED>::new(out, verbose);
            // Of the version Open vSwitch shows eight bits.
            let ver = mask.map(|mask| match u32::from_ne_bytes(mask.version) & 0xff {
                0xff => u32::MAX,
                ver => ver,
            });
            match erspan {
                Erspan::V1 { index } => {
                    fields.dec(",ver=", 1u32, ver)?;
                    let out = fields.item()?;
                    hex_number(out, "idx=", index)?;
                    mask.map_or(Ok(()), |mask| hex_number(out, "/", mask.index()))
                }
                Erspan::V2 { dir, hwid } => {
                    let (dir_mask, hwid_mask) = mask.map(ErspanMetadata::dir_hwid).unzip();
                    fields.dec(",ver=", 2u32, ver)?;
                    // For Open vSwitch these are bytes, of which a full mask of one or six bits is but a part.
                    fields.dec(",dir=", dir, dir_mask)?;
                    fields.hex(",hwid=", hwid, hwid_mask)
                }
                Erspan::Unknown { version } => fields.dec(",ver=", version, ver),
            }
        }
        TunnelKey::Gtpu(gtpu) => {
            let mask = mask::of(gtpu, mask);
            let mut fields = Fields::<_, MASKED>::new(out, verbose);
            fields.hex(",flags=", gtpu.flags, mask.map(|mask| mask.flags))?;
            fields.dec(",msgtype=", gtpu.msgtype, mask.map(|mask| mask.msgtype))
        }
        TunnelKey::BadLength { expected } => bad_length(attribute, expected, out),
        TunnelKey::Cut => cut(attribute, attribute.payload, out),
        _ => {
            payload(attribute, out)?;
            match mask {
                Some(mask) => {
                    out.write_str("/")?;
                    payload(&mask, out)
                }
                None => Ok(()),
            }
        }
    }
}

/// Writes Geneve options. The options of the mask lie where those of the key do.
pub(in crate::ovs) fn geneve<const MASKED: bool>(
    mut options: &[u8],
    mut mask: Option<&[u8]>,
    verbose: bool,
    out: &mut impl fmt::Write,
) -> fmt::Result {
    while !options.is_empty() {
        let (option, rest) = match GeneveOption::split(options) {
            Ok(split) => split,
            Err(GeneveOverrun { len, left }) if left < GeneveOption::HEADER_LEN => {
                return write!(out, "opt len {left} less than minimum {len}");
            }
            Err(GeneveOverrun { len, left }) => {
                return write!(out, "opt len {len} greater than remaining {left}");
            }
        };
        let this = mask.and_then(|mask| mask.get(..options.len() - rest.len()));
        let header = this.and_then(|mask| mask.first_chunk::<4>());
        let data = this.and_then(|mask| mask.get(GeneveOption::HEADER_LEN..));
        mask = mask.and_then(|mask| mask.get(options.len() - rest.len()..));
        options = rest;
        let len_mask = header.map(|[.., len]| match len & 0x1f {
            0x1f => 0xff,
            len => len,
        });
        out.write_str("{")?;
        let mut fields = Fields::<_, MASKED>::new(out, verbose);
        let class = header.map(|[high, low, ..]| u16::from_be_bytes([*high, *low]));
        fields.hex(",class=", option.class, class)?;
        fields.hex(",type=", option.kind, header.map(|[_, _, kind, _]| *kind))?;
        fields.dec(",len=", option.data.len() as u8, len_mask)?;
        if !option.data.is_empty() {
            let wildcard = data.is_some_and(|mask| mask.iter().all(|byte| *byte == 0));
            if let Some(out) = fields.field(",", wildcard)? {
                long_hex(out, option.data)?;
                if let Some(mask) = data.filter(|mask| mask.iter().any(|byte| *byte != 0xff)) {
                    out.write_str("/")?;
                    long_hex(out, mask)?;
                }
            }
        }
        out.write_str("}")?;
    }
    Ok(())
}

fn vxlan<const MASKED: bool>(
    mut attributes: Attributes<'_>,
    masks: &Masks<'_>,
    verbose: bool,
    out: &mut impl fmt::Write,
) -> Wrote {
    let mut list = List::new(out);
    for attribute in attributes.by_ref() {
        let out = list.item()?;
        let Some(gbp) = attribute.vxlan_gbp() else {
            unknown(&attribute, out)?;
            continue;
        };
        let (mask, lost) = match masks.find(attribute.kind, false) {
            Found::Exact => (None, false),
            Found::Mask(mask) => (Some(mask.vxlan_gbp().unwrap_or_default()), false),
            Found::Wildcard => (Some(0), false),
            Found::Lost => (None, true),
        };
        let id_and_flags = |gbp: u32| (gbp as u16, (gbp >> 16) as u8);
        let ((id, flags), (id_mask, flags_mask)) =
            (id_and_flags(gbp), mask.map(id_and_flags).unzip());
        out.write_str("gbp(")?;
        let mut fields = Fields::<_, MASKED>::new(out, verbose);
        fields.dec(",id=", id, id_mask)?;
        fields.hex(",flags=", flags, flags_mask)?;
        out.write_str(")")?;
        out.write_str(if lost { LOST } else { "" })?;
    }
    list.end(&attributes)
}
