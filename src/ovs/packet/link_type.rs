//! What a packet begins with.

use crate::ovs::flow_key::{
    Attribute, OVS_KEY_ATTR_ETHERNET, OVS_KEY_ATTR_ETHERTYPE, OVS_KEY_ATTR_PACKET_TYPE, attributes,
    has,
};

/// What a packet begins with, which its bytes do not say: its flow key does.
///
/// Ports that take packets without an Ethernet header (GRE, GTP-U, bareudp, and any port of the type `ptap` or
/// `legacy_l3`) and the action `pop_eth` make packets of the second kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Link {
    /// An Ethernet header.
    Ethernet,
    /// What follows an Ethernet header of this EtherType. The packet has no such header.
    Network(u16),
    /// It is not known: the key was cut before it says so, could not be read, or does not say it.
    #[default]
    Unknown,
}

/// `OFPHTN_ONF` and `OFPHTN_ETHERTYPE` of Open vSwitch's `include/openvswitch/packets.h`: the namespaces of a packet
/// type.
const OFPHTN_ONF: u16 = 0;
const OFPHTN_ETHERTYPE: u16 = 1;

/// Whether an attribute says what a packet begins with.
fn says_link(attribute: &Attribute<'_>) -> bool {
    matches!(
        attribute.kind,
        OVS_KEY_ATTR_ETHERNET | OVS_KEY_ATTR_ETHERTYPE | OVS_KEY_ATTR_PACKET_TYPE
    )
}

impl Link {
    /// The link type of the packet of an upcall, of whose flow key `key` is the beginning, or all of it.
    ///
    /// The kernel leaves `OVS_KEY_ATTR_ETHERNET` out of the keys of exactly those packets that have no Ethernet header
    /// (`__ovs_nla_put_key()`, `net/openvswitch/flow_netlink.c`), and writes it before `OVS_KEY_ATTR_ETHERTYPE`.
    /// ovs-vswitchd reads it so (`parse_odp_packet()`, `lib/dpif-netlink.c`). `OVS_KEY_ATTR_PACKET_TYPE`, which only
    /// the userspace datapath writes, says it in so many words.
    pub fn of_key(key: &[u8]) -> Self {
        // Its payload does not matter.
        if has(key, OVS_KEY_ATTR_ETHERNET) {
            return Self::Ethernet;
        }
        let mut link = Self::Unknown;
        for attribute in attributes(key).filter(says_link) {
            match (attribute.kind, attribute.payload) {
                (OVS_KEY_ATTR_ETHERTYPE, &[t0, t1]) if link == Self::Unknown => {
                    link = Self::Network(u16::from_be_bytes([t0, t1]));
                }
                (OVS_KEY_ATTR_PACKET_TYPE, &[n0, n1, t0, t1]) => {
                    let packet_type = [u16::from_be_bytes([n0, n1]), u16::from_be_bytes([t0, t1])];
                    return match packet_type {
                        [OFPHTN_ONF, 0] => Self::Ethernet,
                        [OFPHTN_ETHERTYPE, ether_type] => Self::Network(ether_type),
                        _ => Self::Unknown,
                    };
                }
                _ => {}
            }
        }
        link
    }

    /// The link type of a packet that ovs-vswitchd sends to the datapath with such a key (`OVS_PACKET_ATTR_KEY`). That
    /// key has metadata only, so that of a packet with an Ethernet header it has none of these attributes
    /// (`odp_key_from_dp_packet()`, `lib/odp-util.c`; `metadata_from_nlattrs()` in the kernel).
    pub fn of_metadata(key: &Attribute<'_>) -> Self {
        let mut run = key.nested();
        if run.any(|attribute| says_link(&attribute))
            || run.stopped().is_some()
            || !key.is_complete()
        {
            Self::of_key(key.payload)
        } else {
            Self::Ethernet
        }
    }
}
