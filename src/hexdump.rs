//! Hex dumps in the form of scapy's `hexdump()`: an offset, sixteen bytes, and their ASCII characters.

use std::fmt::{self, Write};

const DIGITS: &[u8; 16] = b"0123456789ABCDEF";

/// Writes `bytes`, sixteen to a line, each line behind `indent` spaces. No bytes are an empty line, as scapy has it.
pub fn write(out: &mut impl Write, bytes: &[u8], indent: usize) -> fmt::Result {
    if bytes.is_empty() {
        return writeln!(out, "{:indent$}", "");
    }
    for (i, chunk) in bytes.chunks(16).enumerate() {
        write!(out, "{:indent$}{:04x}  ", "", i * 16)?;
        for column in 0..16 {
            match chunk.get(column) {
                Some(byte) => {
                    out.write_char(DIGITS[usize::from(byte >> 4)].into())?;
                    out.write_char(DIGITS[usize::from(byte & 15)].into())?;
                    out.write_char(' ')?;
                }
                None => out.write_str("   ")?,
            }
        }
        out.write_char(' ')?;
        for &byte in chunk {
            let printable = (0x20..0x7f).contains(&byte);
            out.write_char(if printable { byte.into() } else { '.' })?;
        }
        out.write_char('\n')?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dump(bytes: &[u8]) -> String {
        let mut out = String::new();
        write(&mut out, bytes, 4).unwrap();
        out
    }

    /// Check that the layout is that of scapy 2.5: the expected text is what its
    /// `hexdump(bytes(range(26)) + b"ab~\x7f", dump=True)` returned, indented by 4.
    #[test]
    fn like_scapy() {
        let bytes: Vec<u8> = (0..26).chain(*b"ab~\x7f").collect();
        assert_eq!(
            dump(&bytes),
            "    0000  00 01 02 03 04 05 06 07 08 09 0A 0B 0C 0D 0E 0F  ................\n    \
             0010  10 11 12 13 14 15 16 17 18 19 61 62 7E 7F        ..........ab~.\n"
        );
    }

    /// Check that sixteen bytes are one line and none are an empty one.
    #[test]
    fn edges() {
        assert_eq!(
            dump(&[0xff; 16]),
            "    0000  FF FF FF FF FF FF FF FF FF FF FF FF FF FF FF FF  ................\n"
        );
        assert_eq!(dump(&[]), "    \n");
    }
}
