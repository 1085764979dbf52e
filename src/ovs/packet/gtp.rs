//! GTP-U.

use super::{Decoder, Halt, Span, Value, Visitor};

const NO_EXTENSION: u64 = 0;
const UDP_PORT: u64 = 0x40;
const PDU_SESSION_CONTAINER: u64 = 0x85;
const PDCP_PDU_NUMBER: u64 = 0xc0;
/// The type of a message that carries a packet.
const G_PDU: u64 = 255;

impl<'a, V: Visitor> Decoder<'_, V> {
    /// 3GPP TS 29.281. Messages other than those that carry IP are decoded up to the end of their header.
    pub(super) fn gtp_u(&mut self, span: &mut Span<'a>) -> Result<(), Halt> {
        self.layer("GTP-U Header");
        let byte = span.u8()?;
        let (version, protocol) = (byte >> 5, byte >> 4 & 1);
        self.int("version", version);
        self.int("PT", protocol);
        for (field, value, expected) in [("version", version, 1), ("PT", protocol, 1)] {
            if value != expected {
                let value = value.into();
                return Err(Halt::Undecoded { field, value });
            }
        }
        self.int("reserved", byte >> 3 & 1);
        self.int("E", byte >> 2 & 1);
        self.int("S", byte >> 1 & 1);
        self.int("PN", byte & 1);
        let kind = span.u8()?.into();
        self.named("gtp_type", kind, message_name(kind));
        let len = self.read_int("length", 2, span)?;
        self.read_int("teid", 4, span)?;
        self.bounded(len as usize, span, |this, span| {
            let mut next = NO_EXTENSION;
            if byte & 7 != 0 {
                this.read_hex("seq", 2, span)?;
                this.read_int("npdu", 1, span)?;
                let extension = span.u8()?.into();
                this.named("next_ex", extension, extension_name(extension));
                if byte & 4 != 0 {
                    next = extension;
                }
            }
            this.gtp_next(next, kind, *span);
            Ok(())
        });
        Ok(())
    }

    /// What follows the header or an extension of it.
    fn gtp_next(&mut self, next: u64, kind: u64, payload: Span<'a>) {
        let value = Value::Int(kind);
        match (next, kind) {
            (NO_EXTENSION, G_PDU) => {
                self.either_ip("gtp_type", value, message_name(kind), payload);
            }
            (NO_EXTENSION, _) => self.undecoded("gtp_type", value, message_name(kind), payload),
            _ => self.run(payload, |this, span| this.gtp_extension(next, kind, span)),
        }
    }

    fn gtp_extension(
        &mut self,
        this_kind: u64,
        kind: u64,
        span: &mut Span<'a>,
    ) -> Result<(), Halt> {
        let session = this_kind == PDU_SESSION_CONTAINER;
        self.layer(match this_kind {
            UDP_PORT => "GTP_UDPPort_ExtensionHeader",
            PDU_SESSION_CONTAINER => "GTP PDU Session Container",
            PDCP_PDU_NUMBER => "GTP_PDCP_PDU_ExtensionHeader",
            _ => "GTP_ExtensionHeader",
        });
        let field = if session { "ExtHdrLen" } else { "length" };
        let len = self.read_int(field, 1, span)?;
        let Some(value_len) = (len as usize * 4).checked_sub(2) else {
            return Err(Halt::Invalid { field, value: len });
        };
        self.option_value(value_len, "data", span, |this, value| match this_kind {
            UDP_PORT => this.read_int("udp_port", 2, value).map(|_| ()),
            PDU_SESSION_CONTAINER => this.gtp_session(value),
            PDCP_PDU_NUMBER => this.read_int("pdcp_pdu", 2, value).map(|_| ()),
            _ => Ok(()),
        })?;
        let next = span.u8()?.into();
        let field = if session { "NextExtHdr" } else { "next_ex" };
        self.named(field, next, extension_name(next));
        self.gtp_next(next, kind, *span);
        Ok(())
    }

    /// 3GPP TS 38.415, 5.5.2: the part that all have.
    fn gtp_session(&mut self, value: &mut Span<'a>) -> Result<(), Halt> {
        let byte = value.u8()?;
        let kind = byte >> 4;
        let name = match kind {
            0 => Some("DL PDU SESSION INFORMATION"),
            1 => Some("UL PDU SESSION INFORMATION"),
            _ => None,
        };
        self.named("type", kind, name);
        self.int("QMP", byte >> 3 & 1);
        match kind {
            0 => {
                self.int("SNP", byte >> 2 & 1);
                self.hex("spareDl1", byte & 3);
                let byte = value.u8()?;
                self.int("PPP", byte >> 7);
                self.int("RQI", byte >> 6 & 1);
                self.int("QFI", byte & 63);
            }
            1 => {
                self.int("dlDelayInd", byte >> 2 & 1);
                self.int("ulDelayInd", byte >> 1 & 1);
                self.int("SNP", byte & 1);
                let byte = value.u8()?;
                self.int("N3N9DelayInd", byte >> 7);
                self.hex("spareUl1", byte >> 6 & 1);
                self.int("QFI", byte & 63);
            }
            _ => {}
        }
        Ok(())
    }
}

fn message_name(kind: u64) -> Option<&'static str> {
    Some(match kind {
        1 => "echo_request",
        2 => "echo_response",
        26 => "error_indication",
        31 => "supported_extension_headers_notification",
        254 => "end_marker",
        G_PDU => "g_pdu",
        _ => return None,
    })
}

fn extension_name(kind: u64) -> Option<&'static str> {
    Some(match kind {
        NO_EXTENSION => "No more extension headers",
        UDP_PORT => "UDP Port",
        PDU_SESSION_CONTAINER => "PDU Session Container",
        PDCP_PDU_NUMBER => "PDCP PDU Number",
        1 | 2 | 193 | 194 => "Reserved",
        _ => return None,
    })
}
