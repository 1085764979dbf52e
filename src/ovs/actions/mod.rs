//! What the datapath does with the packets of a flow: a run of `OVS_ACTION_ATTR_*` netlink attributes, as
//! ovs-vswitchd sends them to the kernel.
//!
//! Numbers and layouts are those of `include/uapi/linux/openvswitch.h` of Linux 6.11, which only adds to those of older
//! kernels. Open vSwitch's userspace datapath has actions of its own (`tnl_push`, `tnl_pop`, `lb_output` and, before
//! 3.4, `drop`), under numbers that the kernel gave to others or to none: 23 to 26 before Open vSwitch 3.4, 26 to 28
//! since. They never reach the kernel, so that each number here means what the kernel takes it for.

mod conntrack;
mod parts;
mod set;
mod userspace;

use std::fmt::{self, Display};

use self::parts::{Part, Parts};
use super::flow_key::odp::fields::{hex_number, hex4, long_hex, mac, number};
use super::flow_key::odp::partial::{List, cut, nested_end};
use super::flow_key::odp::value::{mpls, vlan};
use super::flow_key::text::{dec, hex_bytes};
use super::flow_key::{self, Attribute};

numbered! {
    /// Names of `enum ovs_action_attr`.
    OVS_ACTION_ATTR_NAMES:
    OVS_ACTION_ATTR_UNSPEC = 0,
    OVS_ACTION_ATTR_OUTPUT = 1,
    OVS_ACTION_ATTR_USERSPACE = 2,
    OVS_ACTION_ATTR_SET = 3,
    OVS_ACTION_ATTR_PUSH_VLAN = 4,
    OVS_ACTION_ATTR_POP_VLAN = 5,
    OVS_ACTION_ATTR_SAMPLE = 6,
    OVS_ACTION_ATTR_RECIRC = 7,
    OVS_ACTION_ATTR_HASH = 8,
    OVS_ACTION_ATTR_PUSH_MPLS = 9,
    OVS_ACTION_ATTR_POP_MPLS = 10,
    OVS_ACTION_ATTR_SET_MASKED = 11,
    OVS_ACTION_ATTR_CT = 12,
    OVS_ACTION_ATTR_TRUNC = 13,
    OVS_ACTION_ATTR_PUSH_ETH = 14,
    OVS_ACTION_ATTR_POP_ETH = 15,
    OVS_ACTION_ATTR_CT_CLEAR = 16,
    OVS_ACTION_ATTR_PUSH_NSH = 17,
    OVS_ACTION_ATTR_POP_NSH = 18,
    OVS_ACTION_ATTR_METER = 19,
    OVS_ACTION_ATTR_CLONE = 20,
    OVS_ACTION_ATTR_CHECK_PKT_LEN = 21,
    OVS_ACTION_ATTR_ADD_MPLS = 22,
    // Since Linux 5.7.
    OVS_ACTION_ATTR_DEC_TTL = 23,
    // Since Linux 6.6.
    OVS_ACTION_ATTR_DROP = 24,
    // Since Linux 6.11.
    OVS_ACTION_ATTR_PSAMPLE = 25,
}

// `enum ovs_sample_attr`.
pub const OVS_SAMPLE_ATTR_PROBABILITY: u16 = 1;
pub const OVS_SAMPLE_ATTR_ACTIONS: u16 = 2;

// `enum ovs_check_pkt_len_attr`.
pub const OVS_CHECK_PKT_LEN_ATTR_PKT_LEN: u16 = 1;
pub const OVS_CHECK_PKT_LEN_ATTR_ACTIONS_IF_GREATER: u16 = 2;
pub const OVS_CHECK_PKT_LEN_ATTR_ACTIONS_IF_LESS_EQUAL: u16 = 3;

// `enum ovs_dec_ttl_attr`.
pub const OVS_DEC_TTL_ATTR_ACTION: u16 = 1;

// `enum ovs_psample_attr`.
pub const OVS_PSAMPLE_ATTR_GROUP: u16 = 1;
pub const OVS_PSAMPLE_ATTR_COOKIE: u16 = 2;

// `enum ovs_hash_alg`; the second is Open vSwitch's own.
pub const OVS_HASH_ALG_L4: u32 = 0;
pub const OVS_HASH_ALG_SYM_L4: u32 = 1;

/// `ETH_P_8021Q` of `linux/if_ether.h`, the TPID that `push_vlan` does not show.
const ETH_P_8021Q: u16 = 0x8100;

/// How deep actions may be nested: `OVS_COPY_ACTIONS_MAX_DEPTH` of Linux 6.8 and later, which take no more.
const MAX_DEPTH: u32 = 16;

/// The kernel's name of a type of action, for example `OVS_ACTION_ATTR_OUTPUT`.
pub fn name(kind: u16) -> Option<&'static str> {
    OVS_ACTION_ATTR_NAMES.get(usize::from(kind)).copied()
}

/// Writes actions in the syntax of `ovs-dpctl dump-flows`:
///
/// ```text
/// ct(commit,zone=5,nat(src=10.0.0.1)),set(eth(dst=02:00:00:00:00:01)),push_vlan(vid=5,pcp=0),2
/// ```
///
/// `actions` is the attribute that has them, for example `OVS_FLOW_ATTR_ACTIONS`. `port_name` gives ports their names,
/// which that command shows with `-m` or `--names`; a port without one is a number.
///
/// The text is what `format_odp_actions()` (`lib/odp-util.c` of Open vSwitch 3.1) makes of it; of `dec_ttl`, `drop` and
/// `psample`, which that version does not know, what that of 4.0 does. No actions are `drop`, as one of that name is. An
/// unknown action is `action99(01 02)`, one of a wrong length `bad length 2, expected 4 for: action1(05 00)`. As there,
/// `OVS_CT_ATTR_EVENTMASK` and the `tun_flags` of `add_mpls` are not shown. It differs where that function is of no
/// use:
///
/// * Where it says that there is an error, in `ct(error)` or `nat(range error)` for example, what is there is shown.
///   What has no place is `attrN(00 01)`, N being its type.
/// * Where a key in `set(...)` is too short, or bytes are cut off, the text says so as that of [`flow_key::odp`] does.
/// * Helpers and timeouts of `ct` are escaped as strings of C are.
/// * `set(nsh(...))` shows only what it sets, as Open vSwitch does since 3.4.
/// * The cookies of Open vSwitch 2.4 to 2.8, which 3.1 shows as `userdata(...)`, are decoded: see
///   [`userdata`](super::userdata).
///
/// # Errors
///
/// Only those of `out`.
pub fn odp<N: Display>(
    actions: &Attribute<'_>,
    port_name: impl Fn(u32) -> Option<N>,
    out: &mut impl fmt::Write,
) -> fmt::Result {
    Printer { port_name }.actions(actions, 0, out)
}

struct Printer<F> {
    port_name: F,
}

impl<F: Fn(u32) -> Option<N>, N: Display> Printer<F> {
    /// Writes the actions in an attribute.
    fn actions(
        &self,
        attribute: &Attribute<'_>,
        depth: u32,
        out: &mut impl fmt::Write,
    ) -> fmt::Result {
        if attribute.payload_len() == 0 {
            return out.write_str("drop");
        }
        if depth > MAX_DEPTH {
            out.write_str("<nested too deep: ")?;
            hex_bytes(out, attribute.payload, " ")?;
            return out.write_str(">");
        }
        let mut actions = attribute.nested();
        let mut list = List::new(out);
        for action in actions.by_ref() {
            self.action(&action, depth, list.item()?)?;
        }
        let wrote = list.end(&actions)?;
        nested_end(attribute, wrote, out)
    }

    fn action(&self, action: &Attribute<'_>, depth: u32, out: &mut impl fmt::Write) -> fmt::Result {
        match action.kind {
            OVS_ACTION_ATTR_USERSPACE => userspace::userspace(action, &self.port_name, out),
            OVS_ACTION_ATTR_SET => set::set(action, out),
            OVS_ACTION_ATTR_SET_MASKED => set::set_masked(action, out),
            OVS_ACTION_ATTR_SAMPLE => self.sample(action, depth, out),
            OVS_ACTION_ATTR_CT => conntrack::ct(action, out),
            OVS_ACTION_ATTR_PUSH_NSH => set::push_nsh(action, out),
            OVS_ACTION_ATTR_CLONE => self.nested("clone(", action, depth, out),
            OVS_ACTION_ATTR_CHECK_PKT_LEN => self.check_pkt_len(action, depth, out),
            OVS_ACTION_ATTR_DEC_TTL => self.dec_ttl(action, depth, out),
            OVS_ACTION_ATTR_PSAMPLE => psample(action, out),
            _ => match fixed(action.kind) {
                Some((name, _)) if !action.is_complete() => {
                    out.write_str(name)?;
                    out.write_str("(")?;
                    cut(action, action.payload, out)?;
                    out.write_str(")")
                }
                Some((_, len)) if len != action.payload.len() => {
                    let have = action.payload.len();
                    write!(out, "bad length {have}, expected {len} for: ")?;
                    unknown(action, out)
                }
                Some(_) => self.fixed(action, out),
                None => unknown(action, out),
            },
        }
    }

    /// Writes an action whose payload has a fixed length, which was checked.
    fn fixed(&self, action: &Attribute<'_>, out: &mut impl fmt::Write) -> fmt::Result {
        let host32 = |at| host32(action.payload, at);
        let net16 = |at| net16(action.payload, at);
        match action.kind {
            OVS_ACTION_ATTR_OUTPUT => port(&self.port_name, host32(0), out),
            OVS_ACTION_ATTR_PUSH_VLAN => {
                out.write_str("push_vlan(")?;
                if net16(0) != ETH_P_8021Q {
                    out.write_str("tpid=")?;
                    hex4(out, net16(0))?;
                    out.write_str(",")?;
                }
                vlan(net16(2), None, false, out)?;
                out.write_str(")")
            }
            OVS_ACTION_ATTR_POP_VLAN => out.write_str("pop_vlan"),
            OVS_ACTION_ATTR_RECIRC => bracketed_hex("recirc(", host32(0), out),
            OVS_ACTION_ATTR_HASH => {
                let algorithm = match host32(0) {
                    OVS_HASH_ALG_L4 => "hash(l4(",
                    OVS_HASH_ALG_SYM_L4 => "hash(sym_l4(",
                    unknown => return write!(out, "hash(Unknown hash algorithm({unknown}))"),
                };
                number(out, algorithm, host32(4))?;
                out.write_str("))")
            }
            OVS_ACTION_ATTR_PUSH_MPLS | OVS_ACTION_ATTR_ADD_MPLS => {
                let push = action.kind == OVS_ACTION_ATTR_PUSH_MPLS;
                out.write_str(if push { "push_mpls(" } else { "add_mpls(" })?;
                mpls(out, u32::from_be(host32(0)), None)?;
                bracketed_hex(",eth_type=", net16(4).into(), out)
            }
            OVS_ACTION_ATTR_POP_MPLS => bracketed_hex("pop_mpls(eth_type=", net16(0).into(), out),
            OVS_ACTION_ATTR_TRUNC => bracketed("trunc(", host32(0), out),
            OVS_ACTION_ATTR_PUSH_ETH => {
                let address = |at: usize| action.payload.get(at..).and_then(<[u8]>::first_chunk);
                mac(out, "push_eth(src=", address(0).unwrap_or(&[0; 6]))?;
                mac(out, ",dst=", address(6).unwrap_or(&[0; 6]))?;
                out.write_str(")")
            }
            OVS_ACTION_ATTR_POP_ETH => out.write_str("pop_eth"),
            OVS_ACTION_ATTR_CT_CLEAR => out.write_str("ct_clear"),
            OVS_ACTION_ATTR_POP_NSH => out.write_str("pop_nsh()"),
            OVS_ACTION_ATTR_METER => bracketed("meter(", host32(0), out),
            OVS_ACTION_ATTR_DROP => out.write_str("drop"),
            _ => unknown(action, out),
        }
    }

    /// Writes an action that has actions in it.
    fn nested(
        &self,
        name: &str,
        attribute: &Attribute<'_>,
        depth: u32,
        out: &mut impl fmt::Write,
    ) -> fmt::Result {
        out.write_str(name)?;
        self.actions(attribute, depth + 1, out)?;
        out.write_str(")")
    }

    fn sample(&self, action: &Attribute<'_>, depth: u32, out: &mut impl fmt::Write) -> fmt::Result {
        const KNOWN: [Part; 3] = [Part::Unknown, Part::Fixed(4), Part::Nested];
        let parts = Parts::of(action, &KNOWN);
        out.write_str("sample(")?;
        let mut list = List::new(out);
        if let Some(probability) = parts.host32(OVS_SAMPLE_ATTR_PROBABILITY) {
            let percent = 100.0 * f64::from(probability) / f64::from(u32::MAX);
            write!(list.item()?, "sample={percent:.1}%")?;
        }
        if let Some(actions) = parts.get(OVS_SAMPLE_ATTR_ACTIONS) {
            self.nested("actions(", &actions, depth, list.item()?)?;
        }
        parts.end(list)
    }

    fn check_pkt_len(
        &self,
        action: &Attribute<'_>,
        depth: u32,
        out: &mut impl fmt::Write,
    ) -> fmt::Result {
        const KNOWN: [Part; 4] = [Part::Unknown, Part::Fixed(2), Part::Nested, Part::Nested];
        let parts = Parts::of(action, &KNOWN);
        out.write_str("check_pkt_len(")?;
        let mut list = List::new(out);
        if let Some(len) = parts.host16(OVS_CHECK_PKT_LEN_ATTR_PKT_LEN) {
            number(list.item()?, "size=", len)?;
        }
        for (name, kind) in [
            ("gt(", OVS_CHECK_PKT_LEN_ATTR_ACTIONS_IF_GREATER),
            ("le(", OVS_CHECK_PKT_LEN_ATTR_ACTIONS_IF_LESS_EQUAL),
        ] {
            if let Some(actions) = parts.get(kind) {
                self.nested(name, &actions, depth, list.item()?)?;
            }
        }
        parts.end(list)
    }

    fn dec_ttl(
        &self,
        action: &Attribute<'_>,
        depth: u32,
        out: &mut impl fmt::Write,
    ) -> fmt::Result {
        const KNOWN: [Part; 2] = [Part::Unknown, Part::Nested];
        let parts = Parts::of(action, &KNOWN);
        out.write_str("dec_ttl(")?;
        let mut list = List::new(out);
        match parts.get(OVS_DEC_TTL_ATTR_ACTION) {
            Some(actions) => self.nested("le_1(", &actions, depth, list.item()?)?,
            None => list.item()?.write_str("le_1()")?,
        }
        parts.end(list)
    }
}

/// Name and payload length of an action whose payload has a fixed length.
fn fixed(kind: u16) -> Option<(&'static str, usize)> {
    Some(match kind {
        OVS_ACTION_ATTR_OUTPUT => ("output", 4),
        OVS_ACTION_ATTR_PUSH_VLAN => ("push_vlan", 4),
        OVS_ACTION_ATTR_POP_VLAN => ("pop_vlan", 0),
        OVS_ACTION_ATTR_RECIRC => ("recirc", 4),
        OVS_ACTION_ATTR_HASH => ("hash", 8),
        OVS_ACTION_ATTR_PUSH_MPLS => ("push_mpls", 8),
        OVS_ACTION_ATTR_POP_MPLS => ("pop_mpls", 2),
        OVS_ACTION_ATTR_TRUNC => ("trunc", 4),
        OVS_ACTION_ATTR_PUSH_ETH => ("push_eth", 12),
        OVS_ACTION_ATTR_POP_ETH => ("pop_eth", 0),
        OVS_ACTION_ATTR_CT_CLEAR => ("ct_clear", 0),
        OVS_ACTION_ATTR_POP_NSH => ("pop_nsh", 0),
        OVS_ACTION_ATTR_METER => ("meter", 4),
        OVS_ACTION_ATTR_ADD_MPLS => ("add_mpls", 8),
        OVS_ACTION_ATTR_DROP => ("drop", 4),
        _ => return None,
    })
}

fn psample(action: &Attribute<'_>, out: &mut impl fmt::Write) -> fmt::Result {
    const KNOWN: [Part; 3] = [Part::Unknown, Part::Fixed(4), Part::Any];
    let parts = Parts::of(action, &KNOWN);
    out.write_str("psample(")?;
    let mut list = List::new(out);
    if let Some(group) = parts.host32(OVS_PSAMPLE_ATTR_GROUP) {
        number(list.item()?, "group=", group)?;
    }
    if let Some(cookie) = parts.get(OVS_PSAMPLE_ATTR_COOKIE) {
        let out = list.item()?;
        out.write_str("cookie=")?;
        long_hex(out, cookie.payload)?;
    }
    parts.end(list)
}

/// Writes an action as Open vSwitch does one that it does not know.
fn unknown(action: &Attribute<'_>, out: &mut impl fmt::Write) -> fmt::Result {
    number(out, "action", action.kind)?;
    if action.payload_len() == 0 {
        return Ok(());
    }
    out.write_str("(")?;
    flow_key::odp::partial::payload(action, out)?;
    out.write_str(")")
}

/// Writes a port: its name, or its number.
pub(super) fn port<N: Display>(
    port_name: impl Fn(u32) -> Option<N>,
    number: u32,
    out: &mut impl fmt::Write,
) -> fmt::Result {
    match port_name(number) {
        Some(name) => write!(out, "{name}"),
        None => dec(out, number),
    }
}

fn bracketed(name: &str, value: u32, out: &mut impl fmt::Write) -> fmt::Result {
    number(out, name, value)?;
    out.write_str(")")
}

fn bracketed_hex(name: &str, value: u32, out: &mut impl fmt::Write) -> fmt::Result {
    hex_number(out, name, value)?;
    out.write_str(")")
}

/// A `u32` in this host's byte order; 0 if it is not there.
pub(super) fn host32(bytes: &[u8], at: usize) -> u32 {
    let bytes = bytes.get(at..).and_then(<[u8]>::first_chunk);
    bytes.map_or(0, |bytes| u32::from_ne_bytes(*bytes))
}

/// A `u16` in this host's byte order; 0 if it is not there.
pub(super) fn host16(bytes: &[u8], at: usize) -> u16 {
    let bytes = bytes.get(at..).and_then(<[u8]>::first_chunk);
    bytes.map_or(0, |bytes| u16::from_ne_bytes(*bytes))
}

/// A `u16` in network byte order; 0 if it is not there.
pub(super) fn net16(bytes: &[u8], at: usize) -> u16 {
    let bytes = bytes.get(at..).and_then(<[u8]>::first_chunk);
    bytes.map_or(0, |bytes| u16::from_be_bytes(*bytes))
}
