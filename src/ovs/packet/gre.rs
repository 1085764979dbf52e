//! GRE and ERSPAN.

use super::names::*;
use super::{Decoder, Halt, Span, Value, Visitor};

impl<'a, V: Visitor> Decoder<'_, V> {
    /// RFC 2784 and 2890, with the flags and the source routes of RFC 1701; version 1, which PPTP has, is RFC 2637's.
    pub(super) fn gre(&mut self, span: &mut Span<'a>) -> Result<(), Halt> {
        let pptp = span.bytes.get(1).is_some_and(|byte| byte & 7 == 1);
        self.layer(if pptp { "GRE PPTP" } else { "GRE" });
        let word = span.u16()?;
        let [chksum, routing, key, seqnum] = [15, 14, 13, 12].map(|bit| word >> bit & 1);
        let version = word & 7;
        self.int("chksum_present", chksum);
        self.int("routing_present", routing);
        self.int("key_present", key);
        self.int("seqnum_present", seqnum);
        self.int("strict_route_source", word >> 11 & 1);
        self.int("recursion_control", word >> 8 & 7);
        let acknum = word >> 7 & 1;
        if pptp {
            self.int("acknum_present", acknum);
            self.int("flags", word >> 3 & 15);
        } else {
            self.int("flags", word >> 3 & 31);
        }
        self.int("version", version);
        let proto = span.u16()?;
        self.named_hex("proto", proto, ether_type(proto));
        match version {
            0 => {}
            1 => return self.gre_pptp(proto, seqnum, acknum, span),
            _ => {
                return Err(Halt::Undecoded {
                    field: "version",
                    value: version.into(),
                });
            }
        }
        if chksum | routing == 1 {
            let chksum = span.u16()?;
            self.hex("chksum", chksum);
            let offset = span.u16()?;
            self.hex("offset", offset);
        }
        if key == 1 {
            let key = span.u32()?;
            self.hex("key", key);
        }
        if seqnum == 1 {
            let number = span.u32()?;
            self.hex("sequence_number", number);
        }
        match proto {
            _ if routing == 1 => self.run(*span, |this, span| this.gre_routing(proto, span)),
            ETH_P_ERSPAN if seqnum == 0 => {
                self.run(*span, |this, span| {
                    this.layer("ERSPAN I");
                    this.run(*span, Self::ethernet);
                    Ok(())
                });
            }
            ETH_P_ERSPAN => self.run(*span, Self::erspan_ii),
            ETH_P_ERSPAN2 => self.run(*span, Self::erspan_iii),
            _ => self.by_ether_type("proto", proto, *span),
        }
        Ok(())
    }

    fn gre_pptp(
        &mut self,
        proto: u16,
        seqnum: u16,
        acknum: u16,
        span: &mut Span<'a>,
    ) -> Result<(), Halt> {
        let len = self.read_int("payload_len", 2, span)?;
        self.read_int("call_id", 2, span)?;
        for (name, present) in [("sequence_number", seqnum), ("ack_number", acknum)] {
            if present == 1 {
                self.read_hex(name, 4, span)?;
            }
        }
        let payload = span.split(len as usize);
        self.by_ether_type("proto", proto, payload);
        self.padding(*span);
        Ok(())
    }

    /// An entry of a source route; one without address family and length is the last.
    fn gre_routing(&mut self, proto: u16, span: &mut Span<'a>) -> Result<(), Halt> {
        self.layer("GRE routing information");
        let family = self.read_int("address_family", 2, span)?;
        self.read_int("SRE_offset", 1, span)?;
        let len = self.read_int("SRE_len", 1, span)?;
        self.read_bytes("routing_info", len as usize, span)?;
        if family == 0 && len == 0 {
            self.by_ether_type("proto", proto, *span);
        } else {
            self.run(*span, |this, span| this.gre_routing(proto, span));
        }
        Ok(())
    }

    /// The first two words of ERSPAN (draft-foschiano-erspan), whose version must be `expected`.
    fn erspan_head(
        &mut self,
        encapsulation: &'static str,
        expected: u16,
        span: &mut Span<'a>,
    ) -> Result<(), Halt> {
        let word = span.u16()?;
        let version = word >> 12;
        self.int("ver", version);
        if version != expected {
            return Err(Halt::Undecoded {
                field: "ver",
                value: version.into(),
            });
        }
        self.int("vlan", word & 0xfff);
        let word = span.u16()?;
        self.int("cos", word >> 13);
        self.int(encapsulation, word >> 11 & 3);
        self.int("t", word >> 10 & 1);
        self.int("session_id", word & 0x3ff);
        Ok(())
    }

    fn erspan_ii(&mut self, span: &mut Span<'a>) -> Result<(), Halt> {
        self.layer("ERSPAN II");
        self.erspan_head("en", 1, span)?;
        let word = span.u32()?;
        self.int("reserved", word >> 20);
        self.int("index", word & 0xf_ffff);
        self.run(*span, Self::ethernet);
        Ok(())
    }

    fn erspan_iii(&mut self, span: &mut Span<'a>) -> Result<(), Halt> {
        self.layer("ERSPAN III");
        self.erspan_head("bso", 2, span)?;
        self.read_hex("timestamp", 4, span)?;
        self.read_hex("sgt_other", 2, span)?;
        let word = span.u16()?;
        let (frame_type, granularity) = (word >> 10 & 31, word >> 1 & 3);
        let frame_name = match frame_type {
            0 => Some("Ethernet"),
            2 => Some("IP"),
            _ => None,
        };
        let granularity_name = match granularity {
            0 => Some("100us"),
            1 => Some("100ns"),
            2 => Some("IEEE 1588"),
            _ => None,
        };
        self.int("p", word >> 15);
        self.named("ft", frame_type, frame_name);
        self.int("hw", word >> 4 & 63);
        self.int("d", word >> 3 & 1);
        self.named("gra", granularity, granularity_name);
        self.int("o", word & 1);
        let value = Value::Int(frame_type.into());
        let payload = move |this: &mut Self, span: Span<'a>| match frame_type {
            0 => this.run(span, Self::ethernet),
            2 => this.either_ip("ft", value, frame_name, span),
            _ => this.undecoded("ft", value, frame_name, span),
        };
        if word & 1 == 0 {
            payload(self, *span);
            return Ok(());
        }
        self.run(*span, |this, span| {
            this.layer("PlatformSpecific");
            let word = span.u32()?;
            this.int("platf_id", word >> 26);
            this.int("info1", word & 0x3ff_ffff);
            this.read_hex("info2", 4, span)?;
            payload(this, *span);
            Ok(())
        });
        Ok(())
    }
}
