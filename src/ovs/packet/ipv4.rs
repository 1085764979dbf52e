//! IPv4, and what IP carries.

use super::names::*;
use super::{Decoder, Halt, Span, Stop, Value, Visitor};

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
        self.flags("flags", flags, IP_FLAGS, "+");
        self.int("frag", frag);
        let ttl = span.u8()?;
        self.int("ttl", ttl);
        let proto = span.u8()?;
        self.named("proto", proto, ip_proto(proto));
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
            self.ip_payload("proto", proto, payload);
        } else {
            self.stopped(payload, |layer| Stop::Fragment { layer });
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
        self.named("option", number, ip_option(number));
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

    /// What follows an IP header whose next protocol is `proto`, by its `field`, unless it is a later fragment.
    pub(super) fn ip_payload(&mut self, field: &'static str, proto: u8, payload: Span<'a>) {
        match proto {
            IPPROTO_ICMP => self.run(payload, Self::icmp),
            IPPROTO_IGMP => self.run(payload, Self::igmp),
            IPPROTO_IPIP => self.run(payload, Self::ipv4),
            IPPROTO_TCP => self.run(payload, Self::tcp),
            IPPROTO_UDP => self.run(payload, Self::udp),
            IPPROTO_IPV6 => self.run(payload, Self::ipv6),
            IPPROTO_GRE => self.run(payload, Self::gre),
            IPPROTO_ESP => self.run(payload, Self::esp),
            IPPROTO_AH => self.run(payload, |this, span| {
                this.ah(span, |this, nh, payload| this.ip_payload("nh", nh, payload))
            }),
            IPPROTO_ICMPV6 => self.run(payload, Self::icmpv6),
            // What follows no next header has no meaning (RFC 8200, 4.7).
            IPPROTO_NONE => self.raw(payload),
            IPPROTO_ETHERIP => self.run(payload, Self::etherip),
            IPPROTO_SCTP => self.run(payload, Self::sctp),
            IPPROTO_MPLS => self.run(payload, Self::mpls),
            IPPROTO_ETHERNET => self.run(payload, Self::ethernet),
            _ => {
                let name = ip_proto(proto);
                self.undecoded(field, Value::Int(proto.into()), name, payload);
            }
        }
    }

    /// An IP packet whose version only its first bits say. `field` of the current layer says that it is one.
    pub(super) fn either_ip(
        &mut self,
        field: &'static str,
        value: Value<'static>,
        name: Option<&'static str>,
        payload: Span<'a>,
    ) {
        match payload.bytes.first().map(|byte| byte >> 4) {
            Some(4) => self.run(payload, Self::ipv4),
            Some(6) => self.run(payload, Self::ipv6),
            _ => self.undecoded(field, value, name, payload),
        }
    }
}
