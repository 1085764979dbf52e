//! The text form: scapy's `show()`.

use std::io::{self, Write};
use std::net::Ipv6Addr;

use super::{Link, MAX_LAYERS, Stop, TcpOptions, Value, Visitor, decode};

/// Columns by which a layer's fields are indented against those of the layer around it.
const STEP: usize = 3;
/// Width to which names of fields are padded.
const NAME_WIDTH: usize = 10;

/// Writes a packet as text, each line indented by `indent` spaces. `packet`, `original_len` and
/// `link` are those of [`decode`].
///
/// # Errors
///
/// The first one that writing to `out` gave.
pub fn show(
    packet: &[u8],
    original_len: usize,
    link: Link,
    out: &mut impl Write,
    indent: usize,
) -> io::Result<()> {
    let bars = [0; MAX_LAYERS];
    let mut text = Text {
        out,
        indent,
        depth: 0,
        bars,
        lists: 0,
        result: Ok(()),
    };
    decode(packet, original_len, link, &mut text);
    text.result
}

struct Text<'w, W> {
    out: &'w mut W,
    indent: usize,
    /// Of the current layer, in its list.
    depth: usize,
    /// The depth of the layers whose lists are open: the bar to the left of a list hangs under
    /// them.
    bars: [usize; MAX_LAYERS],
    lists: usize,
    result: io::Result<()>,
}

impl<W: Write> Visitor for Text<'_, W> {
    fn layer(&mut self, name: &'static str, depth: usize) {
        self.depth = depth;
        self.line(|text| {
            text.margin(0)?;
            text.out.write_all(b"###[ ")?;
            text.out.write_all(name.as_bytes())?;
            text.out.write_all(b" ]###\n")
        });
    }

    fn field(&mut self, name: &'static str, value: Value<'_>) {
        self.line(|text| {
            text.margin(text.depth * STEP + 2)?;
            text.out.write_all(name.as_bytes())?;
            text.spaces(NAME_WIDTH.saturating_sub(name.len()))?;
            match value {
                Value::Flags { value: 0, .. } => text.out.write_all(b"=\n"),
                _ => {
                    text.out.write_all(b"= ")?;
                    write_value(text.out, value)?;
                    text.out.write_all(b"\n")
                }
            }
        });
    }

    fn begin(&mut self, name: &'static str) {
        self.line(|text| {
            text.margin(text.depth * STEP + 2)?;
            text.out.write_all(b"\\")?;
            text.out.write_all(name.as_bytes())?;
            text.spaces(NAME_WIDTH.saturating_sub(name.len()))?;
            text.out.write_all(b"\\\n")
        });
        if let Some(bar) = self.bars.get_mut(self.lists) {
            *bar = self.depth;
        }
        self.lists += 1;
    }

    fn end(&mut self) {
        self.lists = self.lists.saturating_sub(1);
        self.depth = self.bars.get(self.lists).copied().unwrap_or_default();
    }

    fn stop(&mut self, stop: Stop) {
        self.line(|text| {
            text.spaces(text.indent)?;
            match stop {
                Stop::Cut {
                    layer,
                    captured,
                    original,
                } => {
                    writeln!(
                        text.out,
                        "[cut in {layer}: {captured} of {original} bytes captured]"
                    )
                }
                Stop::Short { layer } => {
                    writeln!(text.out, "[stopped in {layer}: the packet ends inside it]")
                }
                Stop::Invalid {
                    layer,
                    field,
                    value,
                } => {
                    writeln!(
                        text.out,
                        "[stopped in {layer}: {field} = {value} is not possible]"
                    )
                }
                Stop::Undecoded {
                    layer,
                    field,
                    value,
                    name,
                } => {
                    write!(text.out, "[stopped in {layer}: what follows {field} = ")?;
                    write_value(text.out, value)?;
                    if let Some(name) = name {
                        write!(text.out, " ({name})")?;
                    }
                    text.out.write_all(b" is not decoded]\n")
                }
                Stop::Encrypted { layer } => {
                    writeln!(text.out, "[stopped in {layer}: the rest is encrypted]")
                }
                Stop::Fragment { layer } => {
                    writeln!(
                        text.out,
                        "[stopped in {layer}: a later fragment, its header is in the first]"
                    )
                }
                Stop::TooDeep => {
                    writeln!(text.out, "[stopped: more than {MAX_LAYERS} nested layers]")
                }
                Stop::UnknownLink => {
                    writeln!(
                        text.out,
                        "[not decoded: it is not known whether the packet begins with an Ethernet header]"
                    )
                }
            }
        });
    }
}

impl<W: Write> Text<'_, W> {
    /// Writes a line unless an earlier one failed.
    fn line(&mut self, write: impl FnOnce(&mut Self) -> io::Result<()>) {
        if self.result.is_ok() {
            self.result = write(self);
        }
    }

    /// What stands to the left of a line: the caller's indentation, the bars of the open lists,
    /// `columns` spaces.
    fn margin(&mut self, columns: usize) -> io::Result<()> {
        if self.lists == 0 {
            return self.spaces(self.indent + columns);
        }
        self.spaces(self.indent)?;
        for list in 0..self.lists.min(MAX_LAYERS) {
            self.spaces(self.bars[list] * STEP + STEP)?;
            self.out.write_all(b"|")?;
        }
        self.spaces(columns)
    }

    fn spaces(&mut self, mut number: usize) -> io::Result<()> {
        const SPACES: [u8; 64] = [b' '; 64];
        while number > SPACES.len() {
            self.out.write_all(&SPACES)?;
            number -= SPACES.len();
        }
        self.out.write_all(&SPACES[..number])
    }
}

pub(crate) fn write_value(out: &mut impl Write, value: Value<'_>) -> io::Result<()> {
    match value {
        Value::Int(number) => write_int(out, number),
        Value::Hex(number) => write_hex(out, number),
        Value::Name { name, .. } => out.write_all(name.as_bytes()),
        Value::Flags {
            value,
            names,
            separator,
        } => {
            let mut between = "";
            for (bit, name) in names.iter().enumerate() {
                if value >> bit & 1 == 1 {
                    out.write_all(between.as_bytes())?;
                    out.write_all(name.as_bytes())?;
                    between = separator;
                }
            }
            Ok(())
        }
        Value::Mac(address) => {
            let mut text = *b"00:00:00:00:00:00";
            for (pair, byte) in text.chunks_mut(3).zip(address) {
                pair[..2].copy_from_slice(&hex_digits(byte));
            }
            out.write_all(&text)
        }
        Value::Ipv4(address) => write_ipv4(out, address),
        Value::Ipv6(address) => write!(out, "{}", Ipv6Addr::from(address)),
        Value::Ipv4List(addresses) => {
            out.write_all(b"[")?;
            write_joined(out, addresses, |out, address| write_ipv4(out, *address))?;
            out.write_all(b"]")
        }
        Value::Ipv6List(addresses) => {
            out.write_all(b"[ ")?;
            write_joined(out, addresses, |out, address| {
                write!(out, "{}", Ipv6Addr::from(*address))
            })?;
            out.write_all(b" ]")
        }
        Value::Bytes(bytes) => write_bytes(out, bytes),
        Value::TcpOptions(options) => write_tcp_options(out, options),
    }
}

fn write_joined<W: Write, T>(
    out: &mut W,
    items: impl IntoIterator<Item = T>,
    write: impl Fn(&mut W, T) -> io::Result<()>,
) -> io::Result<()> {
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.write_all(b", ")?;
        }
        write(out, item)?;
    }
    Ok(())
}

/// A list of pairs of name and value: `None` where there is no value, one number, a tuple of
/// numbers, or bytes.
fn write_tcp_options(out: &mut impl Write, options: TcpOptions<'_>) -> io::Result<()> {
    out.write_all(b"[")?;
    write_joined(out, options, |out, option| {
        out.write_all(b"(")?;
        match option.name {
            Some(name) => {
                out.write_all(b"'")?;
                out.write_all(name.as_bytes())?;
                out.write_all(b"'")?;
            }
            None => write_int(out, option.kind.into())?,
        }
        out.write_all(b", ")?;
        match (option.value, option.numbers()) {
            (None, _) => out.write_all(b"None")?,
            (Some(value), None) => write_bytes(out, value)?,
            (Some(_), Some(mut numbers)) if matches!(option.kind, 5 | 8) => {
                out.write_all(b"(")?;
                write_joined(out, &mut numbers, |out, number| {
                    write_int(out, number.into())
                })?;
                out.write_all(b")")?;
            }
            (Some(_), Some(numbers)) => {
                write_joined(out, numbers, |out, number| write_int(out, number.into()))?;
            }
        }
        out.write_all(b")")
    })?;
    out.write_all(b"]")
}

fn write_ipv4(out: &mut impl Write, address: [u8; 4]) -> io::Result<()> {
    let mut text = [0; 15];
    let mut len = 0;
    for byte in address {
        if len > 0 {
            text[len] = b'.';
            len += 1;
        }
        for (least, unit) in [(100, 100), (10, 10), (0, 1)] {
            if byte >= least {
                text[len] = b'0' + byte / unit % 10;
                len += 1;
            }
        }
    }
    out.write_all(&text[..len])
}

/// Bytes as Python's `repr` has them.
fn write_bytes(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let quote = if bytes.contains(&b'\'') && !bytes.contains(&b'"') {
        b'"'
    } else {
        b'\''
    };
    out.write_all(&[b'b', quote])?;
    let plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'\\' && byte != quote;
    let mut rest = bytes;
    while !rest.is_empty() {
        let run = rest
            .iter()
            .position(|&byte| !plain(byte))
            .unwrap_or(rest.len());
        let (head, tail) = rest.split_at(run);
        out.write_all(head)?;
        rest = tail;
        if let Some((&byte, tail)) = rest.split_first() {
            rest = tail;
            match byte {
                b'\t' => out.write_all(b"\\t")?,
                b'\n' => out.write_all(b"\\n")?,
                b'\r' => out.write_all(b"\\r")?,
                b'\\' | b'\'' | b'"' => out.write_all(&[b'\\', byte])?,
                _ => {
                    let [high, low] = hex_digits(byte);
                    out.write_all(&[b'\\', b'x', high, low])?;
                }
            }
        }
    }
    out.write_all(&[quote])
}

fn write_int(out: &mut impl Write, mut number: u64) -> io::Result<()> {
    // 20 digits hold any u64.
    let mut text = [0; 20];
    let mut start = text.len();
    loop {
        start -= 1;
        text[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return out.write_all(&text[start..]);
        }
    }
}

fn write_hex(out: &mut impl Write, number: u64) -> io::Result<()> {
    let mut text = *b"0x0000000000000000";
    for (pair, byte) in text[2..].chunks_mut(2).zip(number.to_be_bytes()) {
        pair.copy_from_slice(&hex_digits(byte));
    }
    let digits = (16 - number.leading_zeros() as usize / 4).max(1);
    let start = text.len() - digits - 2;
    text[start] = b'0';
    text[start + 1] = b'x';
    out.write_all(&text[start..])
}

fn hex_digits(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    [
        DIGITS[usize::from(byte >> 4)],
        DIGITS[usize::from(byte & 15)],
    ]
}
