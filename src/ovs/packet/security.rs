//! What authenticates or encrypts packets: MACsec, AH and ESP.

use super::names;
use super::{Decoder, Halt, Span, Stop, Value, Visitor};

impl<'a, V: Visitor> Decoder<'_, V> {
    /// IEEE 802.1AE, 9. The integrity check value at the end is padding behind what tells its own length.
    pub(super) fn macsec(&mut self, span: &mut Span<'a>) -> Result<(), Halt> {
        self.layer("802.1AE");
        let byte = span.u8()?;
        let version = byte >> 7;
        let [sci, encrypted, changed] = [5, 3, 2].map(|bit| byte >> bit & 1);
        self.int("Ver", version);
        if version != 0 {
            return Err(Halt::Undecoded {
                field: "Ver",
                value: version.into(),
            });
        }
        self.int("ES", byte >> 6 & 1);
        self.int("SC", sci);
        self.int("SCB", byte >> 4 & 1);
        self.int("E", encrypted);
        self.int("C", changed);
        self.int("AN", byte & 3);
        let byte = span.u8()?;
        self.int("reserved", byte >> 6);
        self.int("SL", byte & 63);
        self.read_int("PN", 4, span)?;
        if sci == 1 {
            let identifier = span.split(8);
            self.list("SCI", identifier, |this, span| {
                this.layer("SCI");
                this.read_mac("system_identifier", span)?;
                this.read_int("port_identifier", 2, span)?;
                Ok(())
            });
            if identifier.bytes.len() < 8 {
                return Err(identifier.end());
            }
        }
        if encrypted == 1 {
            self.stopped(*span, |layer| Stop::Encrypted { layer });
        } else if changed == 1 {
            // The cipher suite changes the data without keeping it secret.
            self.undecoded("C", Value::Int(1), None, *span);
        } else {
            let ether_type = span.u16()?;
            self.named_hex("type", ether_type, names::ether_type(ether_type));
            self.ether_payload(ether_type, span);
        }
        Ok(())
    }

    /// RFC 4302. `next` decodes what follows.
    pub(super) fn ah(
        &mut self,
        span: &mut Span<'a>,
        next: impl FnOnce(&mut Self, u8, Span<'a>),
    ) -> Result<(), Halt> {
        /// The part before the integrity check value, in words of 4 bytes.
        const FIXED_WORDS: u64 = 3;
        self.layer("AH");
        let nh = span.u8()?;
        self.named("nh", nh, names::ip_proto(nh));
        let len = self.read_int("payloadlen", 1, span)?;
        self.read_int("reserved", 2, span)?;
        self.read_hex("spi", 4, span)?;
        self.read_int("seq", 4, span)?;
        let Some(words) = (len + 2).checked_sub(FIXED_WORDS) else {
            return Err(Halt::Invalid {
                field: "payloadlen",
                value: len,
            });
        };
        self.read_bytes("icv", words as usize * 4, span)?;
        next(self, nh, *span);
        Ok(())
    }

    /// RFC 4303.
    pub(super) fn esp(&mut self, span: &mut Span<'a>) -> Result<(), Halt> {
        self.layer("ESP");
        self.read_hex("spi", 4, span)?;
        self.read_int("seq", 4, span)?;
        self.stopped(*span, |layer| Stop::Encrypted { layer });
        Ok(())
    }
}
