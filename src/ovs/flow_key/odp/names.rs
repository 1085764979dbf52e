//! Open vSwitch's words for what a flow key has.

use super::super::*;

/// Open vSwitch's name of an attribute of a key.
pub(crate) fn key_name(kind: u16) -> Option<&'static str> {
    Some(match kind {
        OVS_KEY_ATTR_UNSPEC => "unspec",
        OVS_KEY_ATTR_ENCAP => "encap",
        OVS_KEY_ATTR_PRIORITY => "skb_priority",
        OVS_KEY_ATTR_IN_PORT => "in_port",
        OVS_KEY_ATTR_ETHERNET => "eth",
        OVS_KEY_ATTR_VLAN => "vlan",
        OVS_KEY_ATTR_ETHERTYPE => "eth_type",
        OVS_KEY_ATTR_IPV4 => "ipv4",
        OVS_KEY_ATTR_IPV6 => "ipv6",
        OVS_KEY_ATTR_TCP => "tcp",
        OVS_KEY_ATTR_UDP => "udp",
        OVS_KEY_ATTR_ICMP => "icmp",
        OVS_KEY_ATTR_ICMPV6 => "icmpv6",
        OVS_KEY_ATTR_ARP => "arp",
        OVS_KEY_ATTR_ND => "nd",
        OVS_KEY_ATTR_SKB_MARK => "skb_mark",
        OVS_KEY_ATTR_TUNNEL => "tunnel",
        OVS_KEY_ATTR_SCTP => "sctp",
        OVS_KEY_ATTR_TCP_FLAGS => "tcp_flags",
        OVS_KEY_ATTR_DP_HASH => "dp_hash",
        OVS_KEY_ATTR_RECIRC_ID => "recirc_id",
        OVS_KEY_ATTR_MPLS => "mpls",
        OVS_KEY_ATTR_CT_STATE => "ct_state",
        OVS_KEY_ATTR_CT_ZONE => "ct_zone",
        OVS_KEY_ATTR_CT_MARK => "ct_mark",
        OVS_KEY_ATTR_CT_LABELS => "ct_label",
        OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV4 => "ct_tuple4",
        OVS_KEY_ATTR_CT_ORIG_TUPLE_IPV6 => "ct_tuple6",
        OVS_KEY_ATTR_NSH => "nsh",
        OVS_KEY_ATTR_PACKET_TYPE => "packet_type",
        OVS_KEY_ATTR_ND_EXTENSIONS => "nd_ext",
        OVS_KEY_ATTR_TUNNEL_INFO => "<error: kernel-only tunnel_info>",
        _ => return None,
    })
}

pub(crate) type Flag = (u32, &'static str);

/// `OVS_CS_F_*` of `linux/openvswitch.h`.
pub(crate) const CT_STATE: [Flag; 8] = [
    (0x01, "new"),
    (0x02, "est"),
    (0x04, "rel"),
    (0x08, "rpl"),
    (0x10, "inv"),
    (0x20, "trk"),
    (0x40, "snat"),
    (0x80, "dnat"),
];

/// The TCP header's flags (RFC 9293; `ns` is RFC 3540's), and the reserved bits below the data
/// offset.
pub(crate) const TCP_FLAGS: [Flag; 12] = [
    (0x001, "fin"),
    (0x002, "syn"),
    (0x004, "rst"),
    (0x008, "psh"),
    (0x010, "ack"),
    (0x020, "urg"),
    (0x040, "ece"),
    (0x080, "cwr"),
    (0x100, "ns"),
    (0x200, "[200]"),
    (0x400, "[400]"),
    (0x800, "[800]"),
];

pub(super) const TUNNEL_OAM: u32 = 1 << 0;
pub(super) const TUNNEL_DF: u32 = 1 << 1;
pub(super) const TUNNEL_CSUM: u32 = 1 << 2;
pub(super) const TUNNEL_KEY: u32 = 1 << 3;
pub(super) const TUNNEL_ALL: u32 = TUNNEL_OAM | TUNNEL_DF | TUNNEL_CSUM | TUNNEL_KEY;

/// Attributes of a tunnel that are flags, in the order in which Open vSwitch shows them
/// (`FLOW_TNL_F_*`).
pub(super) const TUNNEL_FLAGS: [Flag; 4] = [
    (TUNNEL_OAM, "oam"),
    (TUNNEL_DF, "df"),
    (TUNNEL_CSUM, "csum"),
    (TUNNEL_KEY, "key"),
];
