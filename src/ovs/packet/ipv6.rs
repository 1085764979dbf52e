//! IPv6 and its extension headers.

use super::names::*;
use super::{Decoder, Halt, Span, Stop, Value, Visitor};

impl<'a, V: Visitor> Decoder<'_, V> {
    /// RFC 8200.
    pub(super) fn ipv6(&mut self, span: &mut Span<'a>) -> Result<(), Halt> {
        self.layer(if self.quoted {
            "IPv6 in ICMPv6"
        } else {
            "IPv6"
        });
        let word = span.u32()?;
        let version = word >> 28;
        self.int("version", version);
        if version != 6 {
            return Err(Halt::Invalid {
                field: "version",
                value: version.into(),
            });
        }
        self.int("tc", word >> 20 & 0xff);
        self.int("fl", word & 0xf_ffff);
        let plen = span.u16()?;
        self.int("plen", plen);
        let nh = span.u8()?;
        self.named("nh", nh, next_header(nh));
        let hlim = span.u8()?;
        self.int("hlim", hlim);
        let src = span.array()?;
        self.field("src", Value::Ipv6(src));
        let dst = span.array()?;
        self.field("dst", Value::Ipv6(dst));
        // A jumbogram (RFC 2675), or a segment longer than the field can say (Linux, "BIG TCP").
        let unlimited = plen == 0 && nh != IPPROTO_NONE;
        let payload = span.split(if unlimited { usize::MAX } else { plen.into() });
        self.ipv6_payload(nh, payload);
        self.padding(*span);
        Ok(())
    }

    /// What follows an IPv6 header or extension header: only there extension headers may be.
    fn ipv6_payload(&mut self, nh: u8, payload: Span<'a>) {
        match nh {
            IPPROTO_HOPOPTS => {
                const NAME: &str = "IPv6 Extension Header - Hop-by-Hop Options Header";
                self.run(payload, |this, span| this.ipv6_options(NAME, span));
            }
            IPPROTO_DSTOPTS => {
                const NAME: &str = "IPv6 Extension Header - Destination Options Header";
                self.run(payload, |this, span| this.ipv6_options(NAME, span));
            }
            IPPROTO_ROUTING => self.run(payload, Self::ipv6_routing),
            IPPROTO_FRAGMENT => self.run(payload, Self::ipv6_fragment),
            IPPROTO_AH => self.run(payload, |this, span| this.ah(span, Self::ipv6_payload)),
            _ => self.ip_payload("nh", nh, payload),
        }
    }

    /// The first two bytes of an extension header, and how many follow.
    fn ipv6_extension(&mut self, span: &mut Span<'a>) -> Result<(u8, usize), Halt> {
        let nh = span.u8()?;
        self.named("nh", nh, next_header(nh));
        let len = span.u8()?;
        self.int("len", len);
        Ok((nh, usize::from(len) * 8 + 6))
    }

    fn ipv6_options(&mut self, name: &'static str, span: &mut Span<'a>) -> Result<(), Halt> {
        self.layer(name);
        let (nh, len) = self.ipv6_extension(span)?;
        let options = span.split(len);
        self.list("options", options, Self::ipv6_option);
        if options.bytes.len() < len {
            return Err(options.end());
        }
        self.ipv6_payload(nh, *span);
        Ok(())
    }

    fn ipv6_option(&mut self, span: &mut Span<'a>) -> Result<(), Halt> {
        let (name, option) = match span.bytes.first() {
            Some(0) => ("Pad1", Some("Pad1")),
            Some(1) => ("PadN", Some("PadN")),
            Some(4) => ("Unknown Option", Some("Tunnel Encapsulation Limit")),
            Some(5) => ("Router Alert", Some("Router Alert")),
            Some(6) => ("Unknown Option", Some("Quick-Start")),
            Some(0xc2) => ("Jumbo Payload", Some("Jumbo Payload")),
            Some(0xc9) => ("Home Address Option", Some("Home Address Option")),
            _ => ("Unknown Option", None),
        };
        self.layer(name);
        let otype = span.u8()?;
        self.named("otype", otype, option);
        if otype == 0 {
            return Ok(());
        }
        let optlen = span.u8()?;
        self.int("optlen", optlen);
        match (otype, optlen) {
            (5, 2) => {
                let value = span.u16()?;
                self.named("value", value, router_alert(value));
            }
            (0xc2, 4) => {
                let len = span.u32()?;
                self.int("jumboplen", len);
            }
            (0xc9, 16) => {
                let address = span.array()?;
                self.field("hoa", Value::Ipv6(address));
            }
            _ => {
                let data = span.bytes(optlen.into())?;
                self.field("optdata", Value::Bytes(data));
            }
        }
        Ok(())
    }

    /// RFC 8200, 4.4; types 0 and 2 (RFC 6275), and 4 (RFC 8754).
    fn ipv6_routing(&mut self, span: &mut Span<'a>) -> Result<(), Halt> {
        const IPV6_SRCRT_TYPE_4: u8 = 4;
        let segment_routing = span.bytes.get(2) == Some(&IPV6_SRCRT_TYPE_4);
        self.layer(if segment_routing {
            "IPv6 Option Header Segment Routing"
        } else {
            "IPv6 Option Header Routing"
        });
        let (nh, len) = self.ipv6_extension(span)?;
        let mut header = span.split(len);
        let whole = header.bytes.len() == len;
        if let Err(halt) = self.ipv6_route(&mut header) {
            self.halt(halt);
        }
        if !header.is_empty() {
            self.field("data", Value::Bytes(header.rest()));
        }
        if !whole {
            return Err(header.end());
        }
        self.ipv6_payload(nh, *span);
        Ok(())
    }

    fn ipv6_route(&mut self, header: &mut Span<'a>) -> Result<(), Halt> {
        let kind = header.u8()?;
        self.int("type", kind);
        let segleft = header.u8()?;
        self.int("segleft", segleft);
        let addresses = match kind {
            0 | 2 => {
                let reserved = header.u32()?;
                self.int("reserved", reserved);
                header.bytes.len() / 16
            }
            4 => {
                let last = header.u8()?;
                self.int("lastentry", last);
                let flags = header.u8()?;
                self.hex("flags", flags);
                let tag = header.u16()?;
                self.int("tag", tag);
                (usize::from(last) + 1).min(header.bytes.len() / 16)
            }
            _ => return Ok(()),
        };
        let (addresses, _) = header.bytes(addresses * 16)?.as_chunks();
        self.field("addresses", Value::Ipv6List(addresses));
        Ok(())
    }

    fn ipv6_fragment(&mut self, span: &mut Span<'a>) -> Result<(), Halt> {
        self.layer("IPv6 Extension Header - Fragmentation header");
        let nh = span.u8()?;
        self.named("nh", nh, next_header(nh));
        let reserved = span.u8()?;
        self.int("res1", reserved);
        let word = span.u16()?;
        let offset = word >> 3;
        self.int("offset", offset);
        self.int("res2", word >> 1 & 3);
        self.int("m", word & 1);
        let id = span.u32()?;
        self.int("id", id);
        if offset == 0 {
            self.ipv6_payload(nh, *span);
        } else {
            self.stopped(*span, |layer| Stop::Fragment { layer });
        }
        Ok(())
    }
}
