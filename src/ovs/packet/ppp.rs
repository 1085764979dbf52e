//! PPPoE and PPP.

use super::{Decoder, Halt, Span, Value, Visitor};

// Protocols of PPP (IANA "PPP DLL Protocol Numbers").
const PPP_IP: u16 = 0x0021;
const PPP_IPV6: u16 = 0x0057;
const PPP_MPLS_UC: u16 = 0x0281;
const PPP_MPLS_MC: u16 = 0x0283;
const PPP_IPCP: u16 = 0x8021;
const PPP_IPV6CP: u16 = 0x8057;
const PPP_CCP: u16 = 0x80fd;
const PPP_LCP: u16 = 0xc021;
const PPP_PAP: u16 = 0xc023;
const PPP_CHAP: u16 = 0xc223;
const PPP_EAP: u16 = 0xc227;

impl<'a, V: Visitor> Decoder<'_, V> {
    /// The session stage of RFC 2516.
    pub(super) fn pppoe(&mut self, span: &mut Span<'a>) -> Result<(), Halt> {
        self.layer("PPP over Ethernet");
        let (code, len) = self.pppoe_head(span)?;
        self.bounded(len, span, |this, span| {
            match code {
                0 => this.run(*span, Self::ppp),
                _ => this.undecoded("code", Value::Int(code.into()), pppoe_code(code), *span),
            }
            Ok(())
        });
        Ok(())
    }

    /// The discovery stage of RFC 2516.
    pub(super) fn pppoe_discovery(&mut self, span: &mut Span<'a>) -> Result<(), Halt> {
        self.layer("PPP over Ethernet Discovery");
        let (_, len) = self.pppoe_head(span)?;
        self.bounded(len, span, |this, span| {
            this.run(*span, |this, span| {
                this.layer("PPPoE Tag List");
                this.ended_list("tag_list", *span, Self::pppoe_tag);
                Ok(())
            });
            Ok(())
        });
        Ok(())
    }

    /// Returns the code, and the length of what follows in bytes.
    fn pppoe_head(&mut self, span: &mut Span<'a>) -> Result<(u8, usize), Halt> {
        let byte = span.u8()?;
        for (field, value) in [("version", byte >> 4), ("type", byte & 15)] {
            self.int(field, value);
            if value != 1 {
                let value = value.into();
                return Err(Halt::Undecoded { field, value });
            }
        }
        let code = span.u8()?;
        self.named("code", code, pppoe_code(code));
        self.read_hex("sessionid", 2, span)?;
        let len = self.read_int("len", 2, span)?;
        Ok((code, len as usize))
    }

    /// Decodes a tag. Returns false if it ends the list.
    fn pppoe_tag(&mut self, span: &mut Span<'a>) -> Result<bool, Halt> {
        self.layer("PPPoE Tag");
        let kind = span.u16()?;
        let name = match kind {
            0 => Some("End-Of-List"),
            0x101 => Some("Service-Name"),
            0x102 => Some("AC-Name"),
            0x103 => Some("Host-Uniq"),
            0x104 => Some("AC-Cookie"),
            0x105 => Some("Vendor-Specific"),
            0x110 => Some("Relay-Session-Id"),
            0x120 => Some("PPP-Max-Payload"),
            0x201 => Some("Service-Name-Error"),
            0x202 => Some("AC-System-Error"),
            0x203 => Some("Generic-Error"),
            _ => None,
        };
        self.named("tag_type", kind, name);
        let len = self.read_int("tag_len", 2, span)?;
        self.read_bytes("tag_value", len as usize, span)?;
        Ok(kind != 0)
    }

    /// RFC 1661; the address and control fields of RFC 1662 may stand before the protocol.
    pub(super) fn ppp(&mut self, span: &mut Span<'a>) -> Result<(), Halt> {
        if span.bytes.first() == Some(&0xff) {
            self.layer("HDLC");
            self.read_hex("address", 1, span)?;
            self.read_hex("control", 1, span)?;
            self.run(*span, Self::ppp_protocol);
            return Ok(());
        }
        self.ppp_protocol(span)
    }

    fn ppp_protocol(&mut self, span: &mut Span<'a>) -> Result<(), Halt> {
        self.layer("PPP Link Layer");
        // A protocol whose first byte is odd is compressed to it (RFC 1661, 6.5).
        let compressed = span.bytes.first().is_some_and(|byte| byte & 1 == 1);
        let proto = if compressed {
            span.u8()?.into()
        } else {
            span.u16()?
        };
        let name = ppp_name(proto);
        self.named("proto", proto, name);
        let layer = match proto {
            PPP_IP => {
                self.run(*span, Self::ipv4);
                return Ok(());
            }
            PPP_IPV6 => {
                self.run(*span, Self::ipv6);
                return Ok(());
            }
            PPP_MPLS_UC | PPP_MPLS_MC => {
                self.run(*span, Self::mpls);
                return Ok(());
            }
            PPP_IPCP => "PPP_IPCP",
            PPP_IPV6CP => "PPP_IPV6CP",
            PPP_CCP => "PPP_CCP",
            PPP_LCP => "PPP Link Control Protocol",
            PPP_PAP => "PPP Password Authentication Protocol",
            PPP_CHAP => "PPP Challenge Handshake Authentication Protocol",
            PPP_EAP => "EAP",
            _ => {
                self.undecoded("proto", Value::Hex(proto.into()), name, *span);
                return Ok(());
            }
        };
        self.run(*span, |this, span| this.ppp_control(layer, proto, span));
        Ok(())
    }

    /// The head that the control and authentication protocols of PPP have in common, and the options of those that
    /// configure something.
    fn ppp_control(
        &mut self,
        layer: &'static str,
        proto: u16,
        span: &mut Span<'a>,
    ) -> Result<(), Halt> {
        const HEAD_LEN: u64 = 4;
        self.layer(layer);
        let code = span.u8()?;
        let name = match (proto, code) {
            (PPP_PAP, 1) => Some("Authenticate-Request"),
            (PPP_PAP, 2) => Some("Authenticate-Ack"),
            (PPP_PAP, 3) => Some("Authenticate-Nak"),
            (PPP_CHAP, 1) => Some("Challenge"),
            (PPP_EAP, 1) => Some("Request"),
            (PPP_CHAP | PPP_EAP, 2) => Some("Response"),
            (PPP_CHAP | PPP_EAP, 3) => Some("Success"),
            (PPP_CHAP | PPP_EAP, 4) => Some("Failure"),
            (PPP_PAP | PPP_CHAP | PPP_EAP, _) => None,
            _ => control_code(code),
        };
        self.named("code", code, name);
        self.read_hex("id", 1, span)?;
        let len = self.read_int("len", 2, span)?;
        let Some(len) = len.checked_sub(HEAD_LEN) else {
            return Err(Halt::Invalid {
                field: "len",
                value: len,
            });
        };
        self.bounded(len as usize, span, |this, span| match (proto, code) {
            (PPP_PAP | PPP_CHAP | PPP_EAP, _) => this.ppp_data(span),
            (_, 1..=4) => {
                this.list("options", *span, |this, span| this.ppp_option(proto, span));
                span.rest();
                Ok(())
            }
            (PPP_LCP, 9..=11) => {
                this.read_int("magic_number", 4, span)?;
                this.ppp_data(span)
            }
            _ => this.ppp_data(span),
        });
        Ok(())
    }

    /// What remains, if anything does.
    fn ppp_data(&mut self, span: &mut Span<'a>) -> Result<(), Halt> {
        if !span.is_empty() {
            self.field("data", Value::Bytes(span.rest()));
        }
        Ok(())
    }

    fn ppp_option(&mut self, proto: u16, span: &mut Span<'a>) -> Result<(), Halt> {
        self.layer(match (proto, span.bytes.first()) {
            (PPP_LCP, _) => "PPP LCP Option",
            (PPP_IPCP, Some(3)) => "PPP IPCP Option: IP Address",
            (PPP_IPCP, Some(129)) => "PPP IPCP Option: DNS1 Address",
            (PPP_IPCP, Some(130)) => "PPP IPCP Option: NBNS1 Address",
            (PPP_IPCP, Some(131)) => "PPP IPCP Option: DNS2 Address",
            (PPP_IPCP, Some(132)) => "PPP IPCP Option: NBNS2 Address",
            (PPP_IPCP, _) => "PPP IPCP Option",
            _ => "PPP Option",
        });
        let kind = span.u8()?;
        let name = match (proto, kind) {
            (PPP_LCP, 1) => Some("Maximum-Receive-Unit"),
            (PPP_LCP, 2) => Some("Async-Control-Character-Map"),
            (PPP_LCP, 3) => Some("Authentication-protocol"),
            (PPP_LCP, 4) => Some("Quality-protocol"),
            (PPP_LCP, 5) => Some("Magic-number"),
            (PPP_LCP, 7) => Some("Protocol-Field-Compression"),
            (PPP_LCP, 8) => Some("Address-and-Control-Field-Compression"),
            (PPP_LCP, 13) => Some("Callback"),
            (PPP_IPCP, 1) => Some("IP-Addresses (Deprecated)"),
            (PPP_IPCP, 2) => Some("IP-Compression-Protocol"),
            (PPP_IPCP, 3) => Some("IP-Address"),
            (PPP_IPCP, 4) => Some("Mobile-IPv4"),
            (PPP_IPCP, 129) => Some("Primary-DNS-Address"),
            (PPP_IPCP, 130) => Some("Primary-NBNS-Address"),
            (PPP_IPCP, 131) => Some("Secondary-DNS-Address"),
            (PPP_IPCP, 132) => Some("Secondary-NBNS-Address"),
            _ => None,
        };
        self.named("type", kind, name);
        let len = self.read_int("len", 1, span)?;
        let Some(value_len) = len.checked_sub(2) else {
            return Err(Halt::Invalid {
                field: "len",
                value: len,
            });
        };
        self.option_value(value_len as usize, "data", span, |this, value| {
            match (proto, kind, value_len) {
                (PPP_LCP, 1, 2) => this.read_int("max_recv_unit", 2, value).map(|_| ()),
                (PPP_LCP, 2, 4) => this.read_int("accm", 4, value).map(|_| ()),
                (PPP_LCP, 3, 2..) => {
                    let proto = value.u16()?;
                    let name = match proto {
                        PPP_PAP => Some("Password authentication protocol"),
                        PPP_CHAP => Some("Challenge-response authentication protocol"),
                        PPP_EAP => Some("PPP Extensible authentication protocol"),
                        _ => None,
                    };
                    this.named("auth_protocol", proto, name);
                    Ok(())
                }
                (PPP_LCP, 5, 4) => this.read_int("magic_number", 4, value).map(|_| ()),
                (PPP_IPCP, 3 | 129..=132, 4) => this.read_ipv4("data", value),
                _ => Ok(()),
            }
        })
    }
}

fn pppoe_code(code: u8) -> Option<&'static str> {
    Some(match code {
        0x00 => "Session",
        0x07 => "PPPoE Active Discovery Offer (PADO)",
        0x09 => "PPPoE Active Discovery Initiation (PADI)",
        0x0a => "PPPoE Active Discovery Session-Grant (PADG)",
        0x0b => "PPPoE Active Discovery Session-Credit Response (PADC)",
        0x0c => "PPPoE Active Discovery Quality (PADQ)",
        0x19 => "PPPoE Active Discovery Request (PADR)",
        0x65 => "PPPoE Active Discovery Session-confirmation (PADS)",
        0xa7 => "PPPoE Active Discovery Terminate (PADT)",
        _ => return None,
    })
}

fn control_code(code: u8) -> Option<&'static str> {
    Some(match code {
        1 => "Configure-Request",
        2 => "Configure-Ack",
        3 => "Configure-Nak",
        4 => "Configure-Reject",
        5 => "Terminate-Request",
        6 => "Terminate-Ack",
        7 => "Code-Reject",
        8 => "Protocol-Reject",
        9 => "Echo-Request",
        10 => "Echo-Reply",
        11 => "Discard-Request",
        14 => "Reset-Request",
        15 => "Reset-Ack",
        _ => return None,
    })
}

fn ppp_name(proto: u16) -> Option<&'static str> {
    Some(match proto {
        PPP_IP => "Internet Protocol version 4",
        0x002d => "Van Jacobson Compressed TCP/IP",
        0x002f => "Van Jacobson Uncompressed TCP/IP",
        0x0031 => "Bridging PDU",
        0x003d => "Multi-Link [RFC1717]",
        PPP_IPV6 => "Internet Protocol version 6 [Hinden]",
        0x00fb => "single link compression in multilink [RFC1962]",
        0x00fd => "compressed datagram [RFC1962]",
        PPP_MPLS_UC => "MPLS Unicast [RFC3032]",
        PPP_MPLS_MC => "MPLS Multicast [RFC3032]",
        PPP_IPCP => "Internet Protocol Control Protocol",
        0x8053 => "Encryption Control Protocol [Meyer]",
        PPP_IPV6CP => "IPv6 Control Protovol [Hinden]",
        PPP_CCP => "Compression Control Protocol [RFC1962]",
        0x8281 => "MPLSCP [RFC3032]",
        PPP_LCP => "Link Control Protocol",
        PPP_PAP => "Password Authentication Protocol",
        0xc025 => "Link Quality Report",
        PPP_CHAP => "Challenge Handshake Authentication Protocol",
        PPP_EAP => "Extensible Authentication Protocol [RFC2284]",
        _ => return None,
    })
}
