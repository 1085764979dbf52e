//! The actions of connection tracking.

use std::fmt;
use std::net::IpAddr;

use super::parts::{Part, Parts};
use crate::ovs::flow_key::Attribute;
use crate::ovs::flow_key::odp::fields::{hex_number, ipv4, ipv6, number};
use crate::ovs::flow_key::odp::partial::List;
use crate::ovs::flow_key::odp::value::ct_labels;

// `enum ovs_ct_attr`.
pub const OVS_CT_ATTR_COMMIT: u16 = 1;
pub const OVS_CT_ATTR_ZONE: u16 = 2;
pub const OVS_CT_ATTR_MARK: u16 = 3;
pub const OVS_CT_ATTR_LABELS: u16 = 4;
pub const OVS_CT_ATTR_HELPER: u16 = 5;
pub const OVS_CT_ATTR_NAT: u16 = 6;
pub const OVS_CT_ATTR_FORCE_COMMIT: u16 = 7;
pub const OVS_CT_ATTR_EVENTMASK: u16 = 8;
pub const OVS_CT_ATTR_TIMEOUT: u16 = 9;

// `enum ovs_nat_attr`.
pub const OVS_NAT_ATTR_SRC: u16 = 1;
pub const OVS_NAT_ATTR_DST: u16 = 2;
pub const OVS_NAT_ATTR_IP_MIN: u16 = 3;
pub const OVS_NAT_ATTR_IP_MAX: u16 = 4;
pub const OVS_NAT_ATTR_PROTO_MIN: u16 = 5;
pub const OVS_NAT_ATTR_PROTO_MAX: u16 = 6;
pub const OVS_NAT_ATTR_PERSISTENT: u16 = 7;
pub const OVS_NAT_ATTR_PROTO_HASH: u16 = 8;
pub const OVS_NAT_ATTR_PROTO_RANDOM: u16 = 9;

pub(super) fn ct(action: &Attribute<'_>, out: &mut impl fmt::Write) -> fmt::Result {
    const KNOWN: [Part; 10] = {
        let mut known = [Part::Unknown; 10];
        known[OVS_CT_ATTR_COMMIT as usize] = Part::Fixed(0);
        known[OVS_CT_ATTR_ZONE as usize] = Part::Fixed(2);
        // A value and a mask.
        known[OVS_CT_ATTR_MARK as usize] = Part::Fixed(2 * 4);
        known[OVS_CT_ATTR_LABELS as usize] = Part::Fixed(2 * 16);
        known[OVS_CT_ATTR_HELPER as usize] = Part::Any;
        known[OVS_CT_ATTR_NAT as usize] = Part::Nested;
        known[OVS_CT_ATTR_FORCE_COMMIT as usize] = Part::Fixed(0);
        known[OVS_CT_ATTR_EVENTMASK as usize] = Part::Hidden;
        known[OVS_CT_ATTR_TIMEOUT as usize] = Part::Any;
        known
    };
    let parts = Parts::of(action, &KNOWN);
    let zone = parts.host16(OVS_CT_ATTR_ZONE).filter(|zone| *zone != 0);
    let shown = [
        OVS_CT_ATTR_COMMIT,
        OVS_CT_ATTR_FORCE_COMMIT,
        OVS_CT_ATTR_MARK,
        OVS_CT_ATTR_LABELS,
        OVS_CT_ATTR_HELPER,
        OVS_CT_ATTR_TIMEOUT,
        OVS_CT_ATTR_NAT,
    ];
    out.write_str("ct")?;
    if zone.is_none() && !shown.iter().any(|kind| parts.has(*kind)) && !parts.has_more() {
        return Ok(());
    }
    out.write_str("(")?;
    let mut list = List::new(out);
    if parts.has(OVS_CT_ATTR_COMMIT) {
        list.item()?.write_str("commit")?;
    }
    if parts.has(OVS_CT_ATTR_FORCE_COMMIT) {
        list.item()?.write_str("force_commit")?;
    }
    if let Some(zone) = zone {
        number(list.item()?, "zone=", zone)?;
    }
    if let Some((mark, mask)) = halves(parts.get(OVS_CT_ATTR_MARK)) {
        let out = list.item()?;
        hex_number(out, "mark=", u32::from_ne_bytes(mark))?;
        hex_number(out, "/", u32::from_ne_bytes(mask))?;
    }
    if let Some((labels, mask)) = halves(parts.get(OVS_CT_ATTR_LABELS)) {
        let out = list.item()?;
        out.write_str("label=")?;
        ct_labels(out, u128::from_ne_bytes(labels))?;
        if mask != [0xff; 16] {
            out.write_str("/")?;
            ct_labels(out, u128::from_ne_bytes(mask))?;
        }
    }
    for (name, kind) in [
        ("helper=", OVS_CT_ATTR_HELPER),
        ("timeout=", OVS_CT_ATTR_TIMEOUT),
    ] {
        if let Some(string) = parts.get(kind) {
            let string = string.payload;
            let string = string.strip_suffix(b"\0").unwrap_or(string);
            write!(list.item()?, "{name}{}", string.escape_ascii())?;
        }
    }
    if let Some(attribute) = parts.get(OVS_CT_ATTR_NAT) {
        nat(&attribute, list.item()?)?;
    }
    parts.end(list)
}

/// A value and its mask.
fn halves<const N: usize>(attribute: Option<Attribute<'_>>) -> Option<([u8; N], [u8; N])> {
    let (value, mask) = attribute?.payload.split_at_checked(N)?;
    Some((value.try_into().ok()?, mask.try_into().ok()?))
}

fn nat(attribute: &Attribute<'_>, out: &mut impl fmt::Write) -> fmt::Result {
    const KNOWN: [Part; 10] = {
        let mut known = [Part::Unknown; 10];
        known[OVS_NAT_ATTR_SRC as usize] = Part::Fixed(0);
        known[OVS_NAT_ATTR_DST as usize] = Part::Fixed(0);
        known[OVS_NAT_ATTR_IP_MIN as usize] = Part::Address;
        known[OVS_NAT_ATTR_IP_MAX as usize] = Part::Address;
        known[OVS_NAT_ATTR_PROTO_MIN as usize] = Part::Fixed(2);
        known[OVS_NAT_ATTR_PROTO_MAX as usize] = Part::Fixed(2);
        known[OVS_NAT_ATTR_PERSISTENT as usize] = Part::Fixed(0);
        known[OVS_NAT_ATTR_PROTO_HASH as usize] = Part::Fixed(0);
        known[OVS_NAT_ATTR_PROTO_RANDOM as usize] = Part::Fixed(0);
        known
    };
    let parts = Parts::of(attribute, &KNOWN);
    let address = |kind| address(parts.get(kind)?.payload);
    let port = |kind| parts.host16(kind).filter(|port| *port != 0);
    out.write_str("nat")?;
    if (1..=9).all(|kind| !parts.has(kind)) && !parts.has_more() {
        return Ok(());
    }
    out.write_str("(")?;
    let mut list = List::new(out);
    for (name, kind) in [("src", OVS_NAT_ATTR_SRC), ("dst", OVS_NAT_ATTR_DST)] {
        if parts.has(kind) {
            list.item()?.write_str(name)?;
        }
    }
    let ports = port(OVS_NAT_ATTR_PROTO_MIN);
    let last_port = port(OVS_NAT_ATTR_PROTO_MAX).filter(|last| Some(*last) != ports);
    let first = address(OVS_NAT_ATTR_IP_MIN);
    let last = address(OVS_NAT_ATTR_IP_MAX).filter(|last| Some(*last) != first);
    let last = last.filter(|last| !last.is_unspecified());
    if first.is_some() || last.is_some() || ports.is_some() || last_port.is_some() {
        let out = list.same_item();
        out.write_str("=")?;
        if let Some(first) = first {
            ip(out, first, ports.is_some())?;
        }
        if let Some(last) = last {
            out.write_str("-")?;
            ip(out, last, ports.is_some())?;
        }
        if let Some(first) = ports {
            number(out, ":", first)?;
        }
        if let Some(last) = last_port {
            number(out, "-", last)?;
        }
    }
    for (name, kind) in [
        ("persistent", OVS_NAT_ATTR_PERSISTENT),
        ("hash", OVS_NAT_ATTR_PROTO_HASH),
        ("random", OVS_NAT_ATTR_PROTO_RANDOM),
    ] {
        if parts.has(kind) {
            list.item()?.write_str(name)?;
        }
    }
    parts.end(list)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

/// Writes an address; one of IPv6 in brackets, if a port follows.
fn ip(out: &mut impl fmt::Write, address: IpAddr, brackets: bool) -> fmt::Result {
    match address {
        IpAddr::V4(address) => ipv4(out, "", &address.octets()),
        IpAddr::V6(address) if brackets => {
            ipv6(out, "[", &address.octets())?;
            out.write_str("]")
        }
        IpAddr::V6(address) => ipv6(out, "", &address.octets()),
    }
}
