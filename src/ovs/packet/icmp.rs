//! ICMP, and ICMPv6 with MLD.

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
            // The data of an echo.
            0 | 8 | 10 | 15 | 16 => self.raw(*span),
            _ => {
                let value = Value::Int(kind.into());
                self.undecoded("type", value, names::icmp_type(kind), *span);
            }
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
        if len == 0 {
            self.raw(*span);
        } else {
            self.run(*span, Self::icmp_extensions);
        }
    }

    /// RFC 4884, 7. Of the objects the bytes are shown.
    fn icmp_extensions(&mut self, span: &mut Span<'a>) -> Result<(), Halt> {
        /// Length of the head of an object, in bytes.
        const HEAD_LEN: u64 = 4;
        self.layer("ICMP Extension Header (RFC4884)");
        let word = span.u16()?;
        let version = word >> 12;
        self.int("version", version);
        if version != 2 {
            return Err(Halt::Undecoded {
                field: "version",
                value: version.into(),
            });
        }
        self.int("reserved", word & 0xfff);
        self.read_hex("chksum", 2, span)?;
        self.list("objects", *span, |this, span| {
            this.layer("ICMP Extension Object");
            let len = this.read_int("len", 2, span)?;
            this.read_int("classnum", 1, span)?;
            this.read_int("classtype", 1, span)?;
            let Some(len) = len.checked_sub(HEAD_LEN) else {
                return Err(Halt::Invalid {
                    field: "len",
                    value: len,
                });
            };
            this.read_bytes("data", len as usize, span)
        });
        Ok(())
    }

    /// RFC 4443, 2710, 3810, 4861.
    pub(super) fn icmpv6(&mut self, span: &mut Span<'a>) -> Result<(), Halt> {
        let kind = span.bytes.first().copied().unwrap_or_default();
        // A query of version 2 is recognised by its length (RFC 3810, 8.1).
        let len = span.bytes.len();
        let query2 = kind == 130 && (len > 24 || span.cut && len == 24);
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
            _ => {
                let value = Value::Int(kind.into());
                self.undecoded("type", value, names::icmpv6_type(kind), *span);
            }
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
        self.counted_list("records", number.into(), span, |this, span| {
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
            Ok(())
        })?;
        self.raw(*span);
        Ok(())
    }

    /// `number` addresses, or those of them which are there.
    pub(super) fn ipv6_list(
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
}
