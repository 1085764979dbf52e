//! Numbers as text. A key has some forty of them: through `write!` its text would take 1.5 to 2 times
//! as long.

use std::fmt;

/// Every byte as two hexadecimal digits and a space.
const HEX: [u8; 256 * 3] = {
    let digits = b"0123456789abcdef";
    let mut table = [b' '; 256 * 3];
    let mut byte = 0;
    while byte < 256 {
        table[byte * 3] = digits[byte >> 4];
        table[byte * 3 + 1] = digits[byte & 15];
        byte += 1;
    }
    table
};

const HEX_STR: &str = match str::from_utf8(&HEX) {
    Ok(text) => text,
    Err(_) => panic!("hexadecimal digits are ASCII"),
};

/// Bytes as `04 f4 bc `.
pub(in crate::ovs) fn hex_spaces(out: &mut impl fmt::Write, bytes: &[u8]) -> fmt::Result {
    const AT_ONCE: usize = 16;
    for bytes in bytes.chunks(AT_ONCE) {
        let mut text = [0; 3 * AT_ONCE];
        let (text, _) = text.split_at_mut(3 * bytes.len());
        for (text, byte) in text.chunks_exact_mut(3).zip(bytes) {
            let at = usize::from(*byte) * 3;
            text.copy_from_slice(&HEX[at..at + 3]);
        }
        out.write_str(str::from_utf8(text).unwrap_or_default())?;
    }
    Ok(())
}

/// A byte as `04`.
pub(in crate::ovs) fn hex_byte(out: &mut impl fmt::Write, byte: u8) -> fmt::Result {
    let at = usize::from(byte) * 3;
    out.write_str(&HEX_STR[at..at + 2])
}

/// Bytes as `04 f4 bc`, joined by `separator`.
pub(in crate::ovs) fn hex_bytes(
    out: &mut impl fmt::Write,
    bytes: &[u8],
    separator: &str,
) -> fmt::Result {
    for (index, byte) in bytes.iter().enumerate() {
        if index > 0 {
            out.write_str(separator)?;
        }
        hex_byte(out, *byte)?;
    }
    Ok(())
}

/// A number in decimal.
pub(in crate::ovs) fn dec(out: &mut impl fmt::Write, number: u32) -> fmt::Result {
    out.write_str(itoa::Buffer::new().format(number))
}

/// A number as `0x1f`; zero as `0x0`.
pub(in crate::ovs) fn hex(out: &mut impl fmt::Write, number: u64) -> fmt::Result {
    out.write_str("0x")?;
    hex_digits(out, number)
}

/// A number as `0x1f`; zero as `0`, as C's `%#x` has it.
pub(in crate::ovs) fn alt_hex(out: &mut impl fmt::Write, number: u64) -> fmt::Result {
    if number == 0 {
        out.write_str("0")
    } else {
        hex(out, number)
    }
}

fn hex_digits(out: &mut impl fmt::Write, number: u64) -> fmt::Result {
    if number >= 16 {
        hex_digits(out, number >> 4)?;
    }
    digit(out, (number & 15) as u8)
}

fn digit(out: &mut impl fmt::Write, digit: u8) -> fmt::Result {
    let base = if digit < 10 { b'0' } else { b'a' - 10 };
    out.write_char(char::from(base + digit))
}
