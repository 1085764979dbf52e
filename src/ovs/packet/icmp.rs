//! ICMP, ICMPv6 and neighbour discovery.

use super::names;
use super::{Decoder, Halt, Span, Value, Visitor};

impl<'a, V: Visitor> Decoder<'_, V> {
    /// RFC 792 and 950; next-hop MTU of RFC 1191, length of RFC 4884.
    pub(super) fn icmp(&mut self, span: &mut Span<'a>) -> Result<(), Halt> {
        self.layer(if self.quoted { "ICMP in ICMP" } else { "ICMP" });
        let kind = span.u8()?;
        self.named("type", kind, names::icmp_type(kind));
        let code = span.u8()?;
        self.named("code", code, names::icmp_code(kind, code));
        let chksum = span.u16()?;
        self.hex("chksum", chksum);
        let mut quoted_words = 0;
        match kind {
            0 | 8 | 13..=18 => {
                let id = span.u16()?;
                self.hex("id", id);
                let seq = span.u16()?;
                self.hex("seq", seq);
            }
            3 => {
                let reserved = span.u8()?;
                self.int("reserved", reserved);
                quoted_words = span.u8()?;
                self.int("length", quoted_words);
                let mtu = span.u16()?;
                self.int("nexthopmtu", mtu);
            }
            4 | 10 => {
                let unused = span.u32()?;
                self.int("unused", unused);
            }
            5 => {
                let gateway = span.array()?;
                self.field("gw", Value::Ipv4(gateway));
            }
            11 | 12 => {
                let first = span.u8()?;
                self.int(if kind == 12 { "ptr" } else { "reserved" }, first);
                quoted_words = span.u8()?;
                self.int("length", quoted_words);
                let unused = span.u16()?;
                self.int("unused", unused);
            }
            _ => {}
        }
        match kind {
            3..=5 | 11 | 12 => self.quote(usize::from(quoted_words) * 4, span, Self::ipv4),
            13 | 14 => {
                for name in ["ts_ori", "ts_rx", "ts_tx"] {
                    let milliseconds = span.u32()?;
                    self.int(name, milliseconds);
                }
                self.raw(*span);
            }
            17 | 18 => {
                let mask = span.array()?;
                self.field("addr_mask", Value::Ipv4(mask));
                self.raw(*span);
            }
            _ => self.raw(*span),
        }
        Ok(())
    }

    /// The beginning of the packet which an error is about: `len` bytes of it, after which there
    /// are extensions, or all that remains if `len` is 0 (RFC 4884).
    fn quote(
        &mut self,
        len: usize,
        span: &mut Span<'a>,
        layer: impl FnOnce(&mut Self, &mut Span<'a>) -> Result<(), Halt>,
    ) {
        let packet = span.split(if len == 0 { usize::MAX } else { len });
        let outer = std::mem::replace(&mut self.quoted, true);
        self.run(packet, layer);
        self.quoted = outer;
        self.raw(*span);
    }

    /// RFC 4443, 2710, 3810, 4861.
    pub(super) fn icmpv6(&mut self, span: &mut Span<'a>) -> Result<(), Halt> {
        let kind = span.bytes.first().copied().unwrap_or_default();
        // A query of version 2 is recognised by its length (RFC 3810, 8.1).
        let query2 = kind == 130 && span.bytes.len() >= 28;
        self.layer(match kind {
            1 => "ICMPv6 Destination Unreachable",
            2 => "ICMPv6 Packet Too Big",
            3 => "ICMPv6 Time Exceeded",
            4 => "ICMPv6 Parameter Problem",
            128 => "ICMPv6 Echo Request",
            129 => "ICMPv6 Echo Reply",
            130 if query2 => "MLDv2 - Multicast Listener Query",
            130 => "MLD - Multicast Listener Query",
            131 => "MLD - Multicast Listener Report",
            132 => "MLD - Multicast Listener Done",
            133 => "ICMPv6 Neighbor Discovery - Router Solicitation",
            134 => "ICMPv6 Neighbor Discovery - Router Advertisement",
            135 => "ICMPv6 Neighbor Discovery - Neighbor Solicitation",
            136 => "ICMPv6 Neighbor Discovery - Neighbor Advertisement",
            137 => "ICMPv6 Neighbor Discovery - Redirect",
            143 => "MLDv2 - Multicast Listener Report",
            _ => "ICMPv6",
        });
        let kind = span.u8()?;
        self.named("type", kind, names::icmpv6_type(kind));
        let code = span.u8()?;
        match kind {
            143 => self.int("res", code),
            _ => self.named("code", code, names::icmpv6_code(kind, code)),
        }
        let cksum = span.u16()?;
        self.hex("cksum", cksum);
        match kind {
            1 | 3 => {
                let quoted_words = span.u8()?;
                self.int("length", quoted_words);
                let unused = span.u24()?;
                self.hex("unused", unused);
                self.quote(usize::from(quoted_words) * 8, span, Self::ipv6);
            }
            2 | 4 => {
                let value = span.u32()?;
                self.int(if kind == 2 { "mtu" } else { "ptr" }, value);
                self.quote(0, span, Self::ipv6);
            }
            128 | 129 => {
                let id = span.u16()?;
                self.hex("id", id);
                let seq = span.u16()?;
                self.hex("seq", seq);
                self.field("data", Value::Bytes(span.bytes));
            }
            130..=132 => self.mld(query2, span)?,
            133..=137 => self.neighbour_discovery(kind, span)?,
            143 => self.mld2_report(span)?,
            _ => self.raw(*span),
        }
        Ok(())
    }

    fn mld(&mut self, query2: bool, span: &mut Span<'a>) -> Result<(), Halt> {
        let delay = span.u16()?;
        self.int("mrd", delay);
        let reserved = span.u16()?;
        self.int("reserved", reserved);
        let address = span.array()?;
        self.field("mladdr", Value::Ipv6(address));
        if query2 {
            let byte = span.u8()?;
            self.int("Resv", byte >> 4);
            self.int("S", byte >> 3 & 1);
            self.int("QRV", byte & 7);
            let interval = span.u8()?;
            self.int("QQIC", interval);
            let number = span.u16()?;
            self.int("sources_number", number);
            self.ipv6_list("sources", number.into(), span)?;
        }
        self.raw(*span);
        Ok(())
    }

    fn mld2_report(&mut self, span: &mut Span<'a>) -> Result<(), Halt> {
        let reserved = span.u16()?;
        self.int("reserved", reserved);
        let number = span.u16()?;
        self.int("records_number", number);
        let mut missing = number;
        let mut behind = Span {
            bytes: &[],
            cut: false,
        };
        self.list("records", *span, |this, span| {
            let Some(left) = missing.checked_sub(1) else {
                behind = std::mem::replace(span, behind);
                return Ok(());
            };
            this.layer("ICMPv6 MLDv2 - Multicast Address Record");
            let kind = span.u8()?;
            this.int("rtype", kind);
            let data_len = span.u8()?;
            this.int("auxdata_len", data_len);
            let number = span.u16()?;
            this.int("sources_number", number);
            let address = span.array()?;
            this.field("dst", Value::Ipv6(address));
            this.ipv6_list("sources", number.into(), span)?;
            let data = span.bytes(usize::from(data_len) * 4)?;
            this.field("auxdata", Value::Bytes(data));
            missing = left;
            Ok(())
        });
        self.raw(behind);
        let end = span.end();
        span.rest();
        if missing == 0 { Ok(()) } else { Err(end) }
    }

    /// `number` addresses, or those of them which are there.
    fn ipv6_list(
        &mut self,
        name: &'static str,
        number: usize,
        span: &mut Span<'a>,
    ) -> Result<(), Halt> {
        let found = number.min(span.bytes.len() / 16);
        let (addresses, _) = span.bytes(found * 16)?.as_chunks();
        self.field(name, Value::Ipv6List(addresses));
        if found == number {
            Ok(())
        } else {
            Err(span.end())
        }
    }

    fn neighbour_discovery(&mut self, kind: u8, span: &mut Span<'a>) -> Result<(), Halt> {
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
        let mut body = span.split(body_len);
        let whole = body.bytes.len() == body_len;
        if let Err(halt) = self.nd_option_body(kind, whole, &mut body) {
            self.halt(halt);
        }
        if !body.is_empty() {
            self.field("data", Value::Bytes(body.rest()));
        }
        if !whole {
            return Err(body.end());
        }
        self.name = name;
        self.run(*span, Self::nd_option);
        Ok(())
    }

    fn nd_option_body(&mut self, kind: u8, whole: bool, body: &mut Span<'a>) -> Result<(), Halt> {
        match kind {
            1 | 2 if body.bytes.len() == 6 => {
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
                if !whole {
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
