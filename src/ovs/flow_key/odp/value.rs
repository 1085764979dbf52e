//! The attributes of a key that have no others in them, with their masks.

use std::fmt;

use super::super::text::{alt_hex, hex};
use super::super::*;
use super::fields::{Fields, flags_masked, hex4, long_hex, mask_of_number, number};
use super::mask;
use super::names::{CT_STATE, TCP_FLAGS};
use super::partial::List;

/// Writes an attribute of a fixed layout.
pub(super) fn value<const MASKED: bool>(
    key: Key<'_>,
    mask: Option<Attribute<'_>>,
    verbose: bool,
    out: &mut impl fmt::Write,
) -> fmt::Result {
    let mask = mask.filter(|_| MASKED);
    let wildcard = mask.is_some_and(|mask| mask.payload.iter().all(|byte| *byte == 0));
    match key {
        Key::Priority(value) | Key::SkbMark(value) | Key::DpHash(value) | Key::RecircId(value) => {
            alt_hex(out, value.into())?;
            mask_of_number(out, mask::host32(mask))
        }
        // Of these Open vSwitch shows nothing without a mask, either.
        Key::CtMark(_) | Key::CtZone(_) | Key::CtLabels(_)
            if !verbose && (wildcard || mask.is_none()) =>
        {
            Ok(())
        }
        Key::CtMark(value) => {
            alt_hex(out, value.into())?;
            mask_of_number(out, mask::host32(mask))
        }
        Key::CtZone(zone) => {
            alt_hex(out, zone.into())?;
            mask_of_number(out, mask::host16(mask))
        }
        Key::CtLabels(labels) => {
            ct_labels(out, labels)?;
            match mask.and_then(|mask| mask.payload.try_into().ok().map(u128::from_ne_bytes)) {
                None | Some(u128::MAX) => Ok(()),
                Some(mask) => {
                    out.write_str("/")?;
                    ct_labels(out, mask)
                }
            }
        }
        Key::CtState(state) if verbose => {
            alt_hex(out, state.into())?;
            mask_of_number(out, mask::host32(mask))
        }
        Key::CtState(state) => flags_masked(out, state, mask::host32(mask), u32::MAX, &CT_STATE),
        Key::TcpFlags(value) => {
            let mask = mask::net16(mask).map(u32::from);
            flags_masked(out, value.into(), mask, 0xfff, &TCP_FLAGS)
        }
        Key::EtherType(value) => {
            hex4(out, value)?;
            match mask::net16(mask) {
                None | Some(u16::MAX) => Ok(()),
                Some(mask) => {
                    out.write_str("/")?;
                    hex4(out, mask)
                }
            }
        }
        Key::Mpls(entries) => {
            let masks = mask.filter(|mask| mask.payload.iter().any(|byte| *byte != 0xff));
            let mut masks = masks.map(|mask| mask.payload.chunks_exact(4));
            let mut list = List::new(out);
            for entry in entries {
                let mask = masks
                    .as_mut()
                    .and_then(|masks| masks.next()?.try_into().ok());
                mpls(list.item()?, entry.get(), mask.map(u32::from_be_bytes))?;
            }
            Ok(())
        }
        Key::Vlan(tci) => vlan(tci, mask::net16(mask), verbose, out),
        key => structure::<MASKED>(key, mask, &mut Fields::new(out, verbose)),
    }
}

/// Writes the fields of an attribute that is a C structure.
fn structure<const MASKED: bool>(
    key: Key<'_>,
    mask: Option<Attribute<'_>>,
    fields: &mut Fields<'_, impl fmt::Write, MASKED>,
) -> fmt::Result {
    let mask = mask.filter(|_| MASKED);
    match key {
        Key::Ethernet(eth) => {
            let mask = mask::of(eth, mask);
            fields.mac(",src=", &eth.src, mask.map(|mask| &mask.src))?;
            fields.mac(",dst=", &eth.dst, mask.map(|mask| &mask.dst))
        }
        Key::Ipv4(ip) => {
            let mask = mask::of(ip, mask);
            fields.ipv4(",src=", &ip.src, mask.map(|mask| &mask.src))?;
            fields.ipv4(",dst=", &ip.dst, mask.map(|mask| &mask.dst))?;
            fields.dec(",proto=", ip.proto, mask.map(|mask| mask.proto))?;
            fields.hex(",tos=", ip.tos, mask.map(|mask| mask.tos))?;
            fields.dec(",ttl=", ip.ttl, mask.map(|mask| mask.ttl))?;
            fields.frag(ip.frag, mask.map(|mask| mask.frag))
        }
        Key::Ipv6(ip) => {
            let mask = mask::of(ip, mask);
            fields.ipv6(",src=", &ip.src, mask.map(|mask| &mask.src))?;
            fields.ipv6(",dst=", &ip.dst, mask.map(|mask| &mask.dst))?;
            fields.ipv6_label(ip.label.get(), mask.map(|mask| mask.label.get()))?;
            fields.dec(",proto=", ip.proto, mask.map(|mask| mask.proto))?;
            fields.hex(",tclass=", ip.tclass, mask.map(|mask| mask.tclass))?;
            fields.dec(",hlimit=", ip.hlimit, mask.map(|mask| mask.hlimit))?;
            fields.frag(ip.frag, mask.map(|mask| mask.frag))
        }
        Key::Tcp(ports) | Key::Udp(ports) | Key::Sctp(ports) => {
            let mask = mask::of(ports, mask);
            fields.dec(",src=", ports.src.get(), mask.map(|mask| mask.src.get()))?;
            fields.dec(",dst=", ports.dst.get(), mask.map(|mask| mask.dst.get()))
        }
        Key::Icmp(icmp) | Key::Icmpv6(icmp) => {
            let mask = mask::of(icmp, mask);
            fields.dec(",type=", icmp.kind, mask.map(|mask| mask.kind))?;
            fields.dec(",code=", icmp.code, mask.map(|mask| mask.code))
        }
        Key::Arp(arp) => {
            let mask = mask::of(arp, mask);
            fields.ipv4(",sip=", &arp.sip, mask.map(|mask| &mask.sip))?;
            fields.ipv4(",tip=", &arp.tip, mask.map(|mask| &mask.tip))?;
            fields.dec(",op=", arp.op.get(), mask.map(|mask| mask.op.get()))?;
            fields.mac(",sha=", &arp.sha, mask.map(|mask| &mask.sha))?;
            fields.mac(",tha=", &arp.tha, mask.map(|mask| &mask.tha))
        }
        Key::Nd(nd) => {
            let mask = mask::of(nd, mask);
            fields.ipv6(",target=", &nd.target, mask.map(|mask| &mask.target))?;
            fields.mac(",sll=", &nd.sll, mask.map(|mask| &mask.sll))?;
            fields.mac(",tll=", &nd.tll, mask.map(|mask| &mask.tll))
        }
        Key::NdExtensions(nd) => {
            let mask = mask::of(nd, mask);
            let out = fields.item()?;
            out.write_str("nd_reserved=")?;
            hex(out, nd.reserved.get().into())?;
            let options_type = mask.map(|mask| mask.options_type);
            fields.dec(",nd_options_type=", nd.options_type, options_type)
        }
        Key::CtTuple4(tuple) => {
            let mask = mask::of(tuple, mask);
            let ports = mask.map(|mask| (mask.src_port.get(), mask.dst_port.get()));
            fields.ipv4(",src=", &tuple.src, mask.map(|mask| &mask.src))?;
            fields.ipv4(",dst=", &tuple.dst, mask.map(|mask| &mask.dst))?;
            fields.dec(",proto=", tuple.proto, mask.map(|mask| mask.proto))?;
            fields.dec(",tp_src=", tuple.src_port.get(), ports.map(|ports| ports.0))?;
            fields.dec(",tp_dst=", tuple.dst_port.get(), ports.map(|ports| ports.1))
        }
        Key::PacketType(value) => {
            let halves = |value: u32| ((value >> 16) as u16, value as u16);
            let (ns_mask, id_mask) = mask::net32(mask).map(halves).unzip();
            fields.dec(",ns=", halves(value).0, ns_mask)?;
            fields.hex(",id=", halves(value).1, id_mask)
        }
        _ => Ok(()),
    }
}

/// Writes the inside of `ct_tuple6(...)`, whose ports have two pairs of names.
pub(super) fn ct_tuple6<const MASKED: bool>(
    tuple: &CtTuple6,
    mask: Option<Attribute<'_>>,
    [src_port, dst_port]: [&str; 2],
    fields: &mut Fields<'_, impl fmt::Write, MASKED>,
) -> fmt::Result {
    let mask = mask::of(tuple, mask.filter(|_| MASKED));
    let ports = mask.map(|mask| (mask.src_port.get(), mask.dst_port.get()));
    fields.ipv6(",src=", &tuple.src, mask.map(|mask| &mask.src))?;
    fields.ipv6(",dst=", &tuple.dst, mask.map(|mask| &mask.dst))?;
    fields.dec(",proto=", tuple.proto, mask.map(|mask| mask.proto))?;
    fields.dec(src_port, tuple.src_port.get(), ports.map(|ports| ports.0))?;
    fields.dec(dst_port, tuple.dst_port.get(), ports.map(|ports| ports.1))
}

/// Writes the inside of `vlan(...)` and `push_vlan(...)`.
pub(in crate::ovs) fn vlan(
    tci: u16,
    mask: Option<u16>,
    verbose: bool,
    out: &mut impl fmt::Write,
) -> fmt::Result {
    let mask = mask.unwrap_or(u16::MAX);
    let mut list = List::new(out);
    for (name, shift, bits) in [("vid=", 0, 0xfff), ("pcp=", 13, 7)] {
        let (value, mask) = (tci >> shift & bits, mask >> shift & bits);
        if verbose || value != 0 || mask != 0 {
            number(list.item()?, name, value)?;
            if mask != bits {
                write!(list.same_item(), "/{mask:#x}")?;
            }
        }
    }
    if tci & 0x1000 == 0 {
        list.item()?.write_str("cfi=0")?;
    }
    Ok(())
}

/// Writes a label stack entry (RFC 3032).
pub(in crate::ovs) fn mpls(
    out: &mut impl fmt::Write,
    entry: u32,
    mask: Option<u32>,
) -> fmt::Result {
    let fields = |entry: u32| (entry >> 12, entry >> 9 & 7, entry & 0xff, entry >> 8 & 1);
    let (label, tc, ttl, bos) = fields(entry);
    let Some((label_mask, tc_mask, ttl_mask, bos_mask)) = mask.map(fields) else {
        number(out, "label=", label)?;
        number(out, ",tc=", tc)?;
        number(out, ",ttl=", ttl)?;
        return number(out, ",bos=", bos);
    };
    write!(
        out,
        "label={label}/{label_mask:#x},tc={tc}/{tc_mask:x},ttl={ttl}/{ttl_mask:#x},bos={bos}/{bos_mask:x}"
    )
}

pub(in crate::ovs) fn ct_labels(out: &mut impl fmt::Write, labels: u128) -> fmt::Result {
    long_hex(out, &labels.to_be_bytes())
}
