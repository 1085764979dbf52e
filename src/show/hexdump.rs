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
        // Written at once: three characters a byte, a space, a character a byte, the end of the line.
        let mut line = [b' '; 3 * 16 + 1 + 16 + 1];
        let (hex, ascii) = line.split_at_mut(3 * 16 + 1);
        for ((hex, ascii), &byte) in hex.chunks_exact_mut(3).zip(&mut *ascii).zip(chunk) {
            hex[0] = DIGITS[usize::from(byte >> 4)];
            hex[1] = DIGITS[usize::from(byte & 15)];
            let printable = (0x20..0x7f).contains(&byte);
            *ascii = if printable { byte } else { b'.' };
        }
        ascii[chunk.len()] = b'\n';
        let used = 3 * 16 + 1 + chunk.len() + 1;
        out.write_str(str::from_utf8(&line[..used]).unwrap_or_default())?;
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
