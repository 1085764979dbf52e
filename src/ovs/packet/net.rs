//! IPv4 and IPv6.

use super::names::{self, *};
use super::{Decoder, Halt, Span, Value, Visitor};

const IP_FLAGS: &[&str] = &["MF", "DF", "evil"];

/// Length of an IPv4 header without options, in bytes.
const IP_HEADER_LEN: usize = 20;

impl<'a, V: Visitor> Decoder<'_, V> {
    /// RFC 791.
    pub(super) fn ipv4(&mut self, span: &mut Span<'a>) -> Result<(), Halt> {
        self.layer(if self.quoted { "IP in ICMP" } else { "IP" });
        let byte = span.u8()?;
        let (version, ihl) = (byte >> 4, byte & 15);
        self.int("version", version);
        self.int("ihl", ihl);
        if version != 4 {
            return Err(Halt::Invalid {
                field: "version",
                value: version.into(),
            });
        }
        let tos = span.u8()?;
        self.hex("tos", tos);
        let len = span.u16()?;
        self.int("len", len);
        let id = span.u16()?;
        self.int("id", id);
        let word = span.u16()?;
        let (flags, frag) = (word >> 13, word & 0x1fff);
        self.field(
            "flags",
            Value::Flags {
                value: flags.into(),
                names: IP_FLAGS,
                separator: "+",
            },
        );
        self.int("frag", frag);
        let ttl = span.u8()?;
        self.int("ttl", ttl);
        let proto = span.u8()?;
        self.named("proto", proto, names::ip_proto(proto));
        let chksum = span.u16()?;
        self.hex("chksum", chksum);
        let src = span.array()?;
        self.field("src", Value::Ipv4(src));
        let dst = span.array()?;
        self.field("dst", Value::Ipv4(dst));

        let header_len = usize::from(ihl) * 4;
        let Some(options_len) = header_len.checked_sub(IP_HEADER_LEN) else {
            return Err(Halt::Invalid {
                field: "ihl",
                value: ihl.into(),
            });
        };
        let options = span.split(options_len);
        self.list("options", options, Self::ip_option);
        if options.bytes.len() < options_len {
            return Err(options.end());
        }
        let payload_len = match usize::from(len).checked_sub(header_len) {
            Some(len) => len,
            // A segment longer than the field can say, before it is divided (Linux, "BIG TCP").
            None if len == 0 => usize::MAX,
            None => {
                return Err(Halt::Invalid {
                    field: "len",
                    value: len.into(),
                });
            }
        };
        let payload = span.split(payload_len);
        if frag == 0 {
            self.ip_payload(proto, payload);
        } else {
            self.raw(payload);
        }
        self.padding(*span);
        Ok(())
    }

    /// Options of RFC 791, 1063, 1108, 1393 and 2113. After the end of the list there is padding,
    /// shown as more ends.
    fn ip_option(&mut self, span: &mut Span<'a>) -> Result<(), Halt> {
        let kind = span.u8()?;
        let number = kind & 31;
        self.layer(match number {
            0 => "IP Option End of Options List",
            1 => "IP Option No Operation",
            2 => "IP Option Security",
            3 => "IP Option Loose Source and Record Route",
            4 => "IP Option Timestamp",
            7 => "IP Option Record Route",
            8 => "IP Option Stream ID",
            9 => "IP Option Strict Source and Record Route",
            11 => "IP Option MTU Probe",
            12 => "IP Option MTU Reply",
            18 => "IP Option Traceroute",
            20 => "IP Option Router Alert",
            _ => "IP Option",
        });
        let class = kind >> 5 & 3;
        let class_name = match class {
            0 => Some("control"),
            2 => Some("debug"),
            _ => None,
        };
        self.int("copy_flag", kind >> 7);
        self.named("optclass", class, class_name);
        self.named("option", number, names::ip_option(number));
        if number <= 1 {
            return Ok(());
        }
        let len = span.u8()?;
        self.int("length", len);
        let Some(value_len) = usize::from(len).checked_sub(2) else {
            return Err(Halt::Invalid {
                field: "length",
                value: len.into(),
            });
        };
        let mut value = span.split(value_len);
        let whole = value.bytes.len() == value_len;
        if let Err(halt) = self.ip_option_value(number, &mut value) {
            self.halt(halt);
        }
        // What the option does not explain stays with it.
        if !value.is_empty() {
            self.field("value", Value::Bytes(value.rest()));
        }
        if whole { Ok(()) } else { Err(value.end()) }
    }

    fn ip_option_value(&mut self, number: u8, value: &mut Span<'a>) -> Result<(), Halt> {
        match number {
            2 => {
                for name in ["security", "compartment", "handling_restrictions"] {
                    let number = value.u16()?;
                    self.int(name, number);
                }
                let code = value.bytes(3)?;
                self.field("transmission_control_code", Value::Bytes(code));
            }
            3 | 7 | 9 => {
                let pointer = value.u8()?;
                self.int("pointer", pointer);
                let (routers, rest) = value.bytes.as_chunks();
                self.field("routers", Value::Ipv4List(routers));
                value.bytes = rest;
                if !rest.is_empty() {
                    return Err(value.end());
                }
            }
            4 => self.ip_timestamps(value)?,
            8 => {
                let id = value.u16()?;
                self.int("security", id);
            }
            11 | 12 => {
                let mtu = value.u16()?;
                self.int("mtu", mtu);
            }
            18 => {
                for name in ["id", "outbound_hops", "return_hops"] {
                    let number = value.u16()?;
                    self.int(name, number);
                }
                let originator = value.array()?;
                self.field("originator_ip", Value::Ipv4(originator));
            }
            20 => {
                let alert = value.u16()?;
                let name = (alert == 0).then_some("router_shall_examine_packet");
                self.named("alert", alert, name);
            }
            _ => {}
        }
        Ok(())
    }

    fn ip_timestamps(&mut self, value: &mut Span<'a>) -> Result<(), Halt> {
        let pointer = value.u8()?;
        self.int("pointer", pointer);
        let byte = value.u8()?;
        let flag = byte & 15;
        let name = match flag {
            0 => Some("timestamp_only"),
            1 => Some("timestamp_and_ip_addr"),
            3 => Some("prespecified_ip_addr"),
            _ => None,
        };
        self.int("oflw", byte >> 4);
        self.named("flg", flag, name);
        while !value.is_empty() {
            if flag != 0 {
                let address = value.array()?;
                self.field("internet_address", Value::Ipv4(address));
            }
            let timestamp = value.u32()?;
            self.int("timestamp", timestamp);
        }
        Ok(())
    }

    /// What follows an IP header whose next protocol is `proto`, unless it is a later fragment.
    pub(super) fn ip_payload(&mut self, proto: u8, payload: Span<'a>) {
        match proto {
            IPPROTO_ICMP => self.run(payload, Self::icmp),
            IPPROTO_IPIP => self.run(payload, Self::ipv4),
            IPPROTO_TCP => self.run(payload, Self::tcp),
            IPPROTO_UDP => self.run(payload, Self::udp),
            IPPROTO_IPV6 => self.run(payload, Self::ipv6),
            IPPROTO_GRE => self.run(payload, Self::gre),
            IPPROTO_ICMPV6 => self.run(payload, Self::icmpv6),
            IPPROTO_SCTP => self.run(payload, Self::sctp),
            IPPROTO_MPLS => self.run(payload, Self::mpls),
            _ => self.raw(payload),
        }
    }

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
        self.named("nh", nh, names::next_header(nh));
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
            _ => self.ip_payload(nh, payload),
        }
    }

    /// The first two bytes of an extension header, and how many follow.
    fn ipv6_extension(&mut self, span: &mut Span<'a>) -> Result<(u8, usize), Halt> {
        let nh = span.u8()?;
        self.named("nh", nh, names::next_header(nh));
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
                self.named("value", value, names::router_alert(value));
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
        self.named("nh", nh, names::next_header(nh));
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
            self.raw(*span);
        }
        Ok(())
    }
}
