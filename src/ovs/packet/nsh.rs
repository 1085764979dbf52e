//! NSH.

use super::{Decoder, Halt, Span, Value, Visitor};

/// Length of the base header and the service path header, in words of 4 bytes.
const NSH_HEADER_WORDS: u64 = 2;

impl<'a, V: Visitor> Decoder<'_, V> {
    /// RFC 8300. The context of a metadata type without a format is bytes.
    pub(super) fn nsh(&mut self, span: &mut Span<'a>) -> Result<(), Halt> {
        self.layer("NSH");
        let word = span.u16()?;
        let (version, words) = (word >> 14, u64::from(word & 63));
        self.int("ver", version);
        if version != 0 {
            return Err(Halt::Undecoded {
                field: "ver",
                value: version.into(),
            });
        }
        self.int("oam", word >> 13 & 1);
        self.int("unused1", word >> 12 & 1);
        self.int("ttl", word >> 6 & 63);
        self.int("length", words);
        let byte = span.u8()?;
        let kind = byte & 15;
        let kind_name = match kind {
            0 => Some("Reserved MDType"),
            1 => Some("Fixed Length"),
            2 => Some("Variable Length"),
            15 => Some("Experimental MDType"),
            _ => None,
        };
        self.int("unused2", byte >> 4);
        self.named("mdtype", kind, kind_name);
        let next = span.u8()?;
        let next_name = match next {
            1 => Some("IPv4"),
            2 => Some("IPv6"),
            3 => Some("Ethernet"),
            4 => Some("NSH"),
            5 => Some("MPLS"),
            254 => Some("Experiment 1"),
            255 => Some("Experiment 2"),
            _ => None,
        };
        self.named("nextproto", next, next_name);
        self.read_hex("spi", 3, span)?;
        self.read_int("si", 1, span)?;
        let words = match (kind, words.checked_sub(NSH_HEADER_WORDS)) {
            (1, Some(4)) => 4,
            (1, _) | (_, None) => {
                return Err(Halt::Invalid {
                    field: "length",
                    value: words,
                });
            }
            (_, Some(words)) => words,
        };
        let context_len = words as usize * 4;
        if kind == 2 {
            let context = span.split(context_len);
            self.list("vlch", context, Self::nsh_context);
            if context.bytes.len() < context_len {
                return Err(context.end());
            }
        } else {
            self.read_bytes("context_header", context_len, span)?;
        }
        match next {
            1 => self.run(*span, Self::ipv4),
            2 => self.run(*span, Self::ipv6),
            3 => self.run(*span, Self::ethernet),
            4 => self.run(*span, Self::nsh),
            5 => self.run(*span, Self::mpls),
            _ => {
                let value = Value::Int(next.into());
                self.undecoded("nextproto", value, next_name, *span);
            }
        }
        Ok(())
    }

    /// A context header of variable length (RFC 8300, 2.5.1), which is padded to words of 4 bytes.
    fn nsh_context(&mut self, span: &mut Span<'a>) -> Result<(), Halt> {
        self.layer("NSHTLV");
        self.read_hex("class_", 2, span)?;
        self.read_hex("type", 1, span)?;
        let byte = span.u8()?;
        let len = usize::from(byte & 127);
        self.int("reserved", byte >> 7);
        self.int("length", len as u64);
        self.read_bytes("metadata", len, span)?;
        span.split(len.next_multiple_of(4) - len);
        Ok(())
    }
}
