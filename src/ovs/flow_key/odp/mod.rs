//! A key, and a key with its mask, in the syntax of `ovs-dpctl dump-flows`.

pub(in crate::ovs) mod fields;
mod mask;
mod names;
pub(in crate::ovs) mod nsh;
pub(in crate::ovs) mod partial;
mod tunnel;
pub(in crate::ovs) mod value;

use std::fmt::{self, Display};

use self::fields::{Fields, flags, hex4, mask_of_number};
use self::mask::{Found, Masks};
pub(crate) use self::names::{CT_STATE, Flag, TCP_FLAGS, key_name};
use self::partial::{List, Wrote, bad_length, cut, nested_end, payload, unknown_name};
use super::text::{dec, hex_bytes};
use super::*;

/// Writes a key in the syntax of `ovs-dpctl dump-flows`, which `ovs-appctl ofproto/trace` reads:
///
/// ```text
/// recirc_id(0),in_port(2),eth(src=04:f4:bc:28:57:01,dst=3c:fd:fe:9e:7f:68),eth_type(0x0806),...
/// ```
///
/// The key of an upcall has no mask, so the text is what `odp_flow_key_format()` (`lib/odp-util.c`
/// of Open vSwitch 3.1) makes of it: every attribute in its order, those that are zero too, ports
/// by number. An attribute that it does not know is `keyN(00 01)`: N is its type. An empty key is
/// `<empty>`. It differs where that function is of no use here:
///
/// * `ct_state` has the names that `dump-flows` shows, `ct_state(new|trk)`, not `ct_state(0x21)`.
/// * `ct_tuple6` has `tp_src=` and `tp_dst=`, which `ofproto/trace` reads, not `src_port=` and
///   `dst_port=`.
/// * `erspan(...,hwid=)` has all six bits of the hardware ID, not the lower four.
/// * `OVS_KEY_ATTR_IPV6_EXTHDRS`, which Linux 5.18 and later put into every IPv6 key, is not shown:
///   Open vSwitch prints it as `key32(...)`, which `ofproto/trace` does not take.
///   [`super::beside_odp`] has it.
/// * Attributes of `nsh` that have no place in its text follow it as `keyN(...)`.
/// * A payload of a wrong length follows the attribute's name: `eth(bad key length 2, expected
///   12)(00 01)`. An attribute that should have none, `unspec`, shows it as an unknown one does.
/// * A cut attribute ends in `<cut at byte N: HAVE of LEN bytes>`, with the bytes that are there
///   unless they are decoded: `eth(<cut at byte 88: 3 of 12 bytes: 04 f4 bc>)`. N counts from the
///   start of the key to the attribute's header, HAVE and LEN count payload.
/// * A run of attributes that goes on with less than a header ends in `<cut at byte N: HAVE of 4
///   header bytes>`, one that goes on with nonsense in `<nla_len L < 4 at byte N>`.
///
/// `ofproto/trace` takes neither the last three nor `keyN(...)`: delete them before you paste. Nor
/// does it take `nsh(...)`. [`super::beside_odp`] says whether a key has any of these but a wrong length.
///
/// # Errors
///
/// Only those of `out`.
pub fn odp(key: &[u8], out: &mut impl fmt::Write) -> fmt::Result {
    if key.is_empty() {
        return out.write_str("<empty>");
    }
    let printer = Printer::<_, false> {
        verbose: true,
        upcall: true,
        port_name: no_names,
    };
    printer.run(attributes(key), &Masks::EXACT, 0, out)?;
    Ok(())
}

/// Writes a key and its mask in the syntax of `ovs-dpctl dump-flows`:
///
/// ```text
/// in_port(2),eth(src=04:f4:bc:28:57:01/ff:ff:ff:00:00:00),eth_type(0x0800),ipv4(src=10.0.0.0/255.255.255.0,frag=no)
/// ```
///
/// `key` and `mask` are the attributes that have the two, `OVS_FLOW_ATTR_KEY` and `OVS_FLOW_ATTR_MASK`; without a mask,
/// or with an empty one, every bit matters. `verbose` is the `-m` of that command: it shows the fields of which no bit
/// matters, too, as `src=0/0`, and `ct_state` as a number. `port_name` gives ports their names, which that command
/// shows with `-m` or `--names`; a port without one is a number.
///
/// The text is what `odp_flow_format()` (`lib/odp-util.c` of Open vSwitch 3.1) makes of it. It differs as [`odp`] does,
/// but for `ct_state`, for `ct_tuple6`, and for `OVS_KEY_ATTR_IPV6_EXTHDRS`, which is `key32(...)`. And:
///
/// * `eth()` is followed by a comma where nothing precedes it, too.
/// * What the mask of an `nsh` lacks is wildcarded, and not exact.
/// * A mask of a wrong length follows its attribute, which is shown without one: `eth(...)/(bad mask length 2, expected
///   12)(ff ff)`.
/// * Where the mask is cut, what depends on the bytes that are missing ends in `/<mask cut>`, and the text in
///   `<mask cut at byte N: HAVE of LEN bytes>`. Offsets count from where those of the attributes do.
///
/// # Errors
///
/// Only those of `out`.
pub fn odp_masked<N: Display>(
    key: &Attribute<'_>,
    mask: Option<&Attribute<'_>>,
    verbose: bool,
    port_name: impl Fn(u32) -> Option<N>,
    out: &mut impl fmt::Write,
) -> fmt::Result {
    if key.payload_len() == 0 {
        return out.write_str("<empty>");
    }
    let printer = Printer::<_, true> {
        verbose,
        upcall: false,
        port_name,
    };
    let wrote = printer.run(key.nested(), &Masks::if_any(mask.copied()), 0, out)?;
    nested_end(key, wrote, out)?;
    match mask {
        Some(mask) if !mask.is_complete() => {
            let (have, len) = (mask.payload.len(), mask.payload_len());
            write!(
                out,
                ",<mask cut at byte {}: {have} of {len} bytes>",
                mask.at
            )
        }
        _ => Ok(()),
    }
}

/// Writes the attribute of a set action, with its mask if it has one.
pub(in crate::ovs) fn odp_set(
    attribute: &Attribute<'_>,
    mask: Option<Attribute<'_>>,
    out: &mut impl fmt::Write,
) -> fmt::Result {
    let printer = Printer::<_, true> {
        verbose: mask.is_none(),
        upcall: false,
        port_name: no_names,
    };
    printer.key_attribute(attribute, mask, 0, out)
}

/// Gives no port a name.
pub fn no_names(_: u32) -> Option<&'static str> {
    None
}

/// What stands for a mask that is not known.
const LOST: &str = "/<mask cut>";

/// How a key is shown.
///
/// Without `MASKED` there is no mask, and no code for masks: the keys of upcalls, which are many, have no masks.
struct Printer<F, const MASKED: bool> {
    verbose: bool,
    /// Whether it is the key of an upcall, which differs as the documentation of [`odp`] lists.
    upcall: bool,
    port_name: F,
}

impl<F: Fn(u32) -> Option<N>, N: Display, const MASKED: bool> Printer<F, MASKED> {
    /// Writes the attributes of a key or of an encapsulated one. Returns whether it wrote anything.
    fn run(
        &self,
        mut attributes: Attributes<'_>,
        masks: &Masks<'_>,
        depth: u32,
        out: &mut impl fmt::Write,
    ) -> Wrote {
        let mut list = List::new(out);
        let (mut has_eth_type, mut has_packet_type) = (false, false);
        for attribute in attributes.by_ref() {
            let nested = mask::is_nested(attribute.kind);
            has_eth_type |= attribute.kind == OVS_KEY_ATTR_ETHERTYPE;
            has_packet_type |= attribute.kind == OVS_KEY_ATTR_PACKET_TYPE;
            let (mut wildcard, mut lost) = (false, false);
            let found = if MASKED {
                masks.find(attribute.kind, nested)
            } else {
                Found::Exact
            };
            let mask = match found {
                Found::Exact => None,
                Found::Mask(mask) => {
                    wildcard = mask::is_wildcard(&attribute, &mask);
                    Some(mask)
                }
                Found::Wildcard => {
                    wildcard = true;
                    Some(mask::wildcard(&attribute, nested))
                }
                Found::Lost => {
                    lost = true;
                    None
                }
            };
            if self.upcall && exthdrs(&attribute).is_some() {
                continue;
            }
            if self.verbose || nested || !wildcard {
                self.key_attribute(&attribute, mask, depth, list.item()?)?;
            } else if attribute.kind == OVS_KEY_ATTR_ETHERNET && !has_packet_type {
                // That it is there matters: without, a packet has no Ethernet header.
                list.item()?.write_str("eth()")?;
            } else if attribute.kind == OVS_KEY_ATTR_PACKET_TYPE {
                has_packet_type = false;
            }
            if lost {
                list.same_item().write_str(LOST)?;
            }
        }
        if MASKED
            && !has_eth_type
            && let Found::Mask(mask) = masks.find(OVS_KEY_ATTR_ETHERTYPE, false)
        {
            let out = list.item()?;
            out.write_str("eth_type(0/")?;
            hex4(out, mask::net16(Some(mask)).unwrap_or_default())?;
            out.write_str(")")?;
        }
        list.end(&attributes)
    }

    /// Writes one attribute; without a mask, every bit of it matters.
    #[inline]
    fn key_attribute(
        &self,
        attribute: &Attribute<'_>,
        mask: Option<Attribute<'_>>,
        depth: u32,
        out: &mut impl fmt::Write,
    ) -> fmt::Result {
        let (mask, bad_mask) = match mask.filter(|_| MASKED) {
            Some(mask) if !mask::fits(attribute, &mask) => (None, Some(mask)),
            mask => (mask, None),
        };
        match key_name(attribute.kind) {
            Some(name) => out.write_str(name)?,
            None => unknown_name(attribute, out)?,
        }
        out.write_str("(")?;
        self.payload(attribute, mask, depth, out)?;
        out.write_str(")")?;
        if let Some(mask) = bad_mask {
            let (have, expected) = (mask.payload.len(), attribute.payload.len());
            write!(out, "/(bad mask length {have}, expected {expected})(")?;
            hex_bytes(out, mask.payload, " ")?;
            out.write_str(")")?;
        }
        Ok(())
    }

    /// Writes the inside of an attribute's brackets.
    #[inline]
    fn payload(
        &self,
        attribute: &Attribute<'_>,
        mask: Option<Attribute<'_>>,
        depth: u32,
        out: &mut impl fmt::Write,
    ) -> fmt::Result {
        let mask = mask.filter(|_| MASKED);
        match attribute.key() {
            Key::Encap(_) if depth == MAX_NESTED => {
                out.write_str("<nested too deep: ")?;
                hex_bytes(out, attribute.payload, " ")?;
                out.write_str(">")
            }
            Key::Encap(nested) => {
                let mask = mask.filter(|_| attribute.payload_len() > 0);
                let wrote = self.run(nested, &Masks::if_any(mask), depth + 1, out)?;
                nested_end(attribute, wrote, out)
            }
            Key::Tunnel(nested) => {
                let (masks, complete) = (Masks::in_attribute(mask), attribute.is_complete());
                let wrote = tunnel::tunnel::<MASKED>(nested, &masks, self.verbose, complete, out)?;
                nested_end(attribute, wrote, out)
            }
            Key::Nsh(nested) => {
                let wrote = nsh::nsh(nested, &Masks::in_attribute(mask), out)?;
                nested_end(attribute, wrote, out)
            }
            Key::InPort(port) => match mask::host32(mask).filter(|mask| *mask != u32::MAX) {
                Some(_) => {
                    dec(out, port)?;
                    mask_of_number(out, mask::host32(mask))
                }
                None => match (self.port_name)(port) {
                    Some(name) => write!(out, "{name}"),
                    None => dec(out, port),
                },
            },
            Key::CtState(state) if self.upcall => flags(out, state, &CT_STATE, "|"),
            Key::CtTuple6(tuple) => {
                let names = if self.upcall {
                    [",tp_src=", ",tp_dst="]
                } else {
                    [",src_port=", ",dst_port="]
                };
                value::ct_tuple6(
                    tuple,
                    mask,
                    names,
                    &mut Fields::<_, MASKED>::new(out, self.verbose),
                )
            }
            Key::Unknown => {
                payload(attribute, out)?;
                match mask {
                    Some(mask) => {
                        out.write_str("/")?;
                        payload(&mask, out)
                    }
                    None => Ok(()),
                }
            }
            Key::Cut => cut(attribute, attribute.payload, out),
            Key::BadLength { expected } => {
                bad_length(attribute, expected, out)?;
                match mask {
                    Some(mask) => {
                        out.write_str("/")?;
                        hex_bytes(out, mask.payload, " ")
                    }
                    None => Ok(()),
                }
            }
            key => value::value::<MASKED>(key, mask, self.verbose, out),
        }
    }
}
