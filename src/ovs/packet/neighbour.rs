//! Neighbour discovery of IPv6.

use super::names;
use super::{Decoder, Halt, Span, Value, Visitor};

impl<'a, V: Visitor> Decoder<'_, V> {
    pub(super) fn neighbour_discovery(
        &mut self,
        kind: u8,
        span: &mut Span<'a>,
    ) -> Result<(), Halt> {
        match kind {
            134 => {
                let limit = span.u8()?;
                self.int("chlim", limit);
                let byte = span.u8()?;
                let preference = byte >> 3 & 3;
                self.int("M", byte >> 7);
                self.int("O", byte >> 6 & 1);
                self.int("H", byte >> 5 & 1);
                self.named("prf", preference, names::router_preference(preference));
                self.int("P", byte >> 2 & 1);
                self.int("res", byte & 3);
                let lifetime = span.u16()?;
                self.int("routerlifetime", lifetime);
                let time = span.u32()?;
                self.int("reachabletime", time);
                let timer = span.u32()?;
                self.int("retranstimer", timer);
            }
            136 => {
                let word = span.u32()?;
                self.int("R", word >> 31);
                self.int("S", word >> 30 & 1);
                self.int("O", word >> 29 & 1);
                self.hex("res", word & 0x1fff_ffff);
            }
            137 => {
                let reserved = span.u32()?;
                self.hex("res", reserved);
            }
            _ => {
                let reserved = span.u32()?;
                self.int("res", reserved);
            }
        }
        if let 135..=137 = kind {
            let target = span.array()?;
            self.field("tgt", Value::Ipv6(target));
        }
        if kind == 137 {
            let destination = span.array()?;
            self.field("dst", Value::Ipv6(destination));
        }
        self.run(*span, Self::nd_option);
        Ok(())
    }

    /// Options of RFC 4861, 4191 and 8106. Each is a layer inside the one before it, as scapy has
    /// it.
    fn nd_option(&mut self, span: &mut Span<'a>) -> Result<(), Halt> {
        self.layer(match span.bytes.first() {
            Some(1) => "ICMPv6 Neighbor Discovery Option - Source Link-Layer Address",
            Some(2) => "ICMPv6 Neighbor Discovery Option - Destination Link-Layer Address",
            Some(3) => "ICMPv6 Neighbor Discovery Option - Prefix Information",
            Some(4) => "ICMPv6 Neighbor Discovery Option - Redirected Header",
            Some(5) => "ICMPv6 Neighbor Discovery Option - MTU",
            Some(24) => "ICMPv6 Neighbor Discovery Option - Route Information Option",
            Some(25) => "ICMPv6 Neighbor Discovery Option - Recursive DNS Server Option",
            Some(31) => "ICMPv6 Neighbor Discovery Option - DNS Search List Option",
            _ => "ICMPv6 Neighbor Discovery Option",
        });
        let name = self.name;
        let kind = span.u8()?;
        self.int("type", kind);
        let len = span.u8()?;
        self.int("len", len);
        let Some(body_len) = (usize::from(len) * 8).checked_sub(2) else {
            return Err(Halt::Invalid {
                field: "len",
                value: len.into(),
            });
        };
        self.option_value(body_len, "data", span, |this, body| {
            this.nd_option_body(kind, body_len, body)
        })?;
        self.name = name;
        self.run(*span, Self::nd_option);
        Ok(())
    }

    /// `body_len` is the length of the whole body.
    fn nd_option_body(
        &mut self,
        kind: u8,
        body_len: usize,
        body: &mut Span<'a>,
    ) -> Result<(), Halt> {
        match kind {
            1 | 2 if body_len == 6 => {
                let address = body.array()?;
                self.field("lladdr", Value::Mac(address));
            }
            3 => {
                let len = body.u8()?;
                self.int("prefixlen", len);
                let byte = body.u8()?;
                self.int("L", byte >> 7);
                self.int("A", byte >> 6 & 1);
                self.int("R", byte >> 5 & 1);
                self.int("res1", byte & 31);
                for name in ["validlifetime", "preferredlifetime", "res2"] {
                    let number = body.u32()?;
                    self.hex(name, number);
                }
                let prefix = body.array()?;
                self.field("prefix", Value::Ipv6(prefix));
            }
            4 => {
                let reserved = body.bytes(6)?;
                self.field("res", Value::Bytes(reserved));
                let packet = Span {
                    bytes: body.rest(),
                    cut: body.cut,
                };
                let (name, depth) = (self.name, self.depth);
                self.visitor.begin("pkt");
                self.depth = 0;
                self.run(packet, Self::ipv6);
                self.visitor.end();
                self.depth = depth;
                if !packet.cut {
                    self.name = name;
                }
            }
            5 => {
                let reserved = body.u16()?;
                self.hex("res", reserved);
                let mtu = body.u32()?;
                self.int("mtu", mtu);
            }
            24 => {
                let len = body.u8()?;
                self.int("plen", len);
                let byte = body.u8()?;
                let preference = byte >> 3 & 3;
                self.int("res1", byte >> 5);
                self.named("prf", preference, names::router_preference(preference));
                self.int("res2", byte & 7);
                let lifetime = body.u32()?;
                self.int("rtlifetime", lifetime);
                // Of kind, length and the fields before it there are 8 bytes.
                if body.bytes.len() + 6 < body_len {
                    return Err(body.end());
                }
                // The prefix has the length for which the option leaves room: 0, 8 or 16 bytes.
                let found = body.bytes.len().min(16);
                let mut prefix = [0; 16];
                prefix[..found].copy_from_slice(body.bytes(found)?);
                self.field("prefix", Value::Ipv6(prefix));
            }
            25 => {
                let reserved = body.u16()?;
                self.int("res", reserved);
                let lifetime = body.u32()?;
                self.int("lifetime", lifetime);
                let number = body.bytes.len() / 16;
                self.ipv6_list("dns", number, body)?;
            }
            31 => {
                let reserved = body.u16()?;
                self.int("res", reserved);
                let lifetime = body.u32()?;
                self.int("lifetime", lifetime);
                self.field("searchlist", Value::Bytes(body.rest()));
            }
            _ => {}
        }
        Ok(())
    }
}
