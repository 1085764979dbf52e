//! The action that sends a packet up to ovs-vswitchd, and the cookie by which the daemon knows it again.

use std::fmt::{self, Display};

use super::parts::{Part, Parts};
use super::{host16, host32, net16, port};
use crate::ovs::flow_key::Attribute;
use crate::ovs::flow_key::odp::Flag;
use crate::ovs::flow_key::odp::fields::{flags, number};
use crate::ovs::flow_key::odp::partial::List;
use crate::ovs::flow_key::text::{alt_hex, hex_bytes};

// `enum ovs_userspace_attr`.
pub const OVS_USERSPACE_ATTR_PID: u16 = 1;
pub const OVS_USERSPACE_ATTR_USERDATA: u16 = 2;
pub const OVS_USERSPACE_ATTR_EGRESS_TUN_PORT: u16 = 3;
pub const OVS_USERSPACE_ATTR_ACTIONS: u16 = 4;

// `enum user_action_cookie_type` (`lib/odp-util.h` of Open vSwitch 2.12 to 4.0).
const USER_ACTION_COOKIE_SFLOW: u16 = 1;
const USER_ACTION_COOKIE_SLOW_PATH: u16 = 2;
const USER_ACTION_COOKIE_FLOW_SAMPLE: u16 = 3;
const USER_ACTION_COOKIE_IPFIX: u16 = 4;
const USER_ACTION_COOKIE_CONTROLLER: u16 = 5;

/// `enum slow_path_reason` of the same file.
const SLOW_PATH_REASONS: [Flag; 7] = [
    (0x01, "cfm"),
    (0x02, "bfd"),
    (0x04, "lacp"),
    (0x08, "stp"),
    (0x10, "lldp"),
    (0x20, "action"),
    (0x40, "match"),
];

pub(super) fn userspace<N: Display>(
    action: &Attribute<'_>,
    port_name: &impl Fn(u32) -> Option<N>,
    out: &mut impl fmt::Write,
) -> fmt::Result {
    const KNOWN: [Part; 5] = [
        Part::Unknown,
        Part::Fixed(4),
        Part::Any,
        Part::Fixed(4),
        Part::Any,
    ];
    let parts = Parts::of(action, &KNOWN);
    out.write_str("userspace(")?;
    let mut list = List::new(out);
    if let Some(pid) = parts.host32(OVS_USERSPACE_ATTR_PID) {
        number(list.item()?, "pid=", pid)?;
    }
    if let Some(userdata) = parts.get(OVS_USERSPACE_ATTR_USERDATA) {
        let out = list.item()?;
        match Cookie::of(userdata.payload) {
            Some(cookie) => cookie.write(port_name, out)?,
            None => {
                out.write_str("userdata(")?;
                hex_bytes(out, userdata.payload, "")?;
                out.write_str(")")?;
            }
        }
    }
    if parts.has(OVS_USERSPACE_ATTR_ACTIONS) {
        list.item()?.write_str("actions")?;
    }
    if let Some(tunnel) = parts.host32(OVS_USERSPACE_ATTR_EGRESS_TUN_PORT) {
        let out = list.item()?;
        out.write_str("tunnel_out_port=")?;
        port(port_name, tunnel, out)?;
    }
    parts.end(list)
}

/// `struct user_action_cookie` of `lib/odp-util.h`: 48 bytes, of which a union by its type begins after the OpenFlow
/// port and the UUID of the bridge. All but `vlan_tci` and `rule_cookie` are in this host's byte order.
struct Cookie<'a> {
    kind: u16,
    union: &'a [u8],
}

impl<'a> Cookie<'a> {
    const LEN: usize = 48;
    const UNION: usize = 24;

    /// The cookie, if it is of a known type.
    fn of(userdata: &'a [u8]) -> Option<Self> {
        if userdata.len() != Self::LEN {
            return None;
        }
        let kind = u16::from_ne_bytes(*userdata.first_chunk()?);
        let known = USER_ACTION_COOKIE_SFLOW..=USER_ACTION_COOKIE_CONTROLLER;
        let union = userdata.get(Self::UNION..)?;
        known.contains(&kind).then_some(Cookie { kind, union })
    }

    fn write<N: Display>(
        &self,
        port_name: &impl Fn(u32) -> Option<N>,
        out: &mut impl fmt::Write,
    ) -> fmt::Result {
        let u32_at = |at| host32(self.union, at);
        let u16_at = |at| host16(self.union, at);
        match self.kind {
            USER_ACTION_COOKIE_SFLOW => {
                let tci = net16(self.union, 0);
                number(out, "sFlow(vid=", tci & 0xfff)?;
                number(out, ",pcp=", tci >> 13)?;
                number(out, ",output=", u32_at(4))?;
            }
            USER_ACTION_COOKIE_SLOW_PATH => {
                out.write_str("slow_path(")?;
                flags(out, u32_at(4), &SLOW_PATH_REASONS, ",")?;
            }
            USER_ACTION_COOKIE_FLOW_SAMPLE => {
                number(out, "flow_sample(probability=", u16_at(0))?;
                number(out, ",collector_set_id=", u32_at(4))?;
                number(out, ",obs_domain_id=", u32_at(8))?;
                number(out, ",obs_point_id=", u32_at(12))?;
                out.write_str(",output_port=")?;
                port(port_name, u32_at(16), out)?;
                // `enum nx_action_sample_direction`.
                out.write_str(match u32_at(20) {
                    1 => ",ingress",
                    2 => ",egress",
                    _ => "",
                })?;
            }
            USER_ACTION_COOKIE_IPFIX => {
                out.write_str("ipfix(output_port=")?;
                port(port_name, u32_at(0), out)?;
            }
            _ => {
                let flag = |at: usize| u32::from(self.union.get(at).is_some_and(|byte| *byte != 0));
                number(out, "controller(reason=", u16_at(2))?;
                number(out, ",dont_send=", flag(0))?;
                number(out, ",continuation=", flag(1))?;
                number(out, ",recirc_id=", u32_at(4))?;
                out.write_str(",rule_cookie=")?;
                let cookie = self.union.get(8..).and_then(<[u8]>::first_chunk);
                alt_hex(out, cookie.map_or(0, |cookie| u64::from_be_bytes(*cookie)))?;
                number(out, ",controller_id=", u16_at(16))?;
                number(out, ",max_len=", u16_at(18))?;
            }
        }
        out.write_str(")")
    }
}
