//! Ethernet, VLAN tags and ARP.

use super::names::{self, *};
use super::{Decoder, Halt, Span, Value, Visitor};

/// The greatest value of the third field of an Ethernet header which is a length (IEEE 802.3,
/// 3.2.6).
pub(super) const MAX_802_3_LEN: u16 = 1500;

impl<'a, V: Visitor> Decoder<'_, V> {
    pub(super) fn ethernet(&mut self, span: &mut Span<'a>) -> Result<(), Halt> {
        // A tunnel ends the quotation of an ICMP error: the names of the layers in it are the plain
        // ones.
        self.quoted = false;
        let is_len = |field: &[u8; 2]| u16::from_be_bytes(*field) <= MAX_802_3_LEN;
        let len_follows = span
            .bytes
            .get(12..)
            .and_then(<[u8]>::first_chunk)
            .is_some_and(is_len);
        self.layer(if len_follows { "802.3" } else { "Ethernet" });
        let dst = span.array()?;
        self.field("dst", Value::Mac(dst));
        let src = span.array()?;
        self.field("src", Value::Mac(src));
        let ether_type = span.u16()?;
        if len_follows {
            self.int("len", ether_type);
        } else {
            self.named_hex("type", ether_type, names::ether_type(ether_type));
        }
        self.ether_payload(ether_type, span);
        Ok(())
    }

    /// What follows an Ethernet type, or a length in its place.
    pub(super) fn ether_payload(&mut self, ether_type: u16, span: &mut Span<'a>) {
        let len = if ether_type <= MAX_802_3_LEN {
            ether_type.into()
        } else {
            usize::MAX
        };
        let payload = span.split(len);
        match ether_type {
            0..=MAX_802_3_LEN => self.run(payload, Self::llc),
            _ => self.by_ether_type("type", ether_type, payload),
        }
        self.padding(*span);
    }

    /// What follows an Ethernet type that a tunnel has, or whatever else knows no length in its place. `field` is the
    /// name of that type.
    pub(super) fn by_ether_type(
        &mut self,
        field: &'static str,
        ether_type: u16,
        payload: Span<'a>,
    ) {
        match ether_type {
            ETH_P_IP => self.run(payload, Self::ipv4),
            ETH_P_IPV6 => self.run(payload, Self::ipv6),
            ETH_P_ARP | ETH_P_RARP => self.run(payload, Self::arp),
            ETH_P_8021Q => self.run(payload, |this, span| this.vlan("802.1Q", span)),
            ETH_P_8021AD => self.run(payload, |this, span| this.vlan("802_1AD", span)),
            ETH_P_MPLS_UC | ETH_P_MPLS_MC => self.run(payload, Self::mpls),
            ETH_P_TEB => self.run(payload, Self::ethernet),
            ETH_P_NSH => self.run(payload, Self::nsh),
            ETH_P_LLDP => self.run(payload, Self::lldp),
            ETH_P_SLOW => self.run(payload, Self::slow),
            ETH_P_CFM => self.run(payload, Self::cfm),
            ETH_P_PPP_DISC => self.run(payload, Self::pppoe_discovery),
            ETH_P_PPP_SES => self.run(payload, Self::pppoe),
            ETH_P_PPP => self.run(payload, Self::ppp),
            ETH_P_MACSEC => self.run(payload, Self::macsec),
            _ => {
                let value = Value::Hex(ether_type.into());
                self.undecoded(field, value, names::ether_type(ether_type), payload);
            }
        }
    }

    /// IEEE 802.1Q, 9.6. `id` is the drop eligible indicator.
    fn vlan(&mut self, name: &'static str, span: &mut Span<'a>) -> Result<(), Halt> {
        self.layer(name);
        let tci = span.u16()?;
        self.int("prio", tci >> 13);
        self.int("id", tci >> 12 & 1);
        self.int("vlan", tci & 0xfff);
        let ether_type = span.u16()?;
        self.named_hex("type", ether_type, names::ether_type(ether_type));
        self.ether_payload(ether_type, span);
        Ok(())
    }

    /// RFC 826 and, for RARP, RFC 903.
    fn arp(&mut self, span: &mut Span<'a>) -> Result<(), Halt> {
        self.layer("ARP");
        let hwtype = span.u16()?;
        self.named_hex("hwtype", hwtype, hardware_type(hwtype));
        let ptype = span.u16()?;
        self.named_hex("ptype", ptype, ether_type(ptype));
        let hwlen = span.u8()?;
        self.int("hwlen", hwlen);
        let plen = span.u8()?;
        self.int("plen", plen);
        let op = span.u16()?;
        self.named("op", op, arp_op(op));
        for (hardware, protocol) in [("hwsrc", "psrc"), ("hwdst", "pdst")] {
            let address = match (hwtype, hwlen) {
                (1, 6) => Value::Mac(span.array()?),
                _ => Value::Bytes(span.bytes(hwlen.into())?),
            };
            self.field(hardware, address);
            let address = match (ptype, plen) {
                (ETH_P_IP, 4) => Value::Ipv4(span.array()?),
                (ETH_P_IPV6, 16) => Value::Ipv6(span.array()?),
                _ => Value::Bytes(span.bytes(plen.into())?),
            };
            self.field(protocol, address);
        }
        self.padding(*span);
        Ok(())
    }
}
