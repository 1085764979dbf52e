//! Bytes that another process chose, made fit for a terminal.
//!
//! The names of threads, ports, datapaths and files are whatever their owners made them. On a terminal they must neither
//! end a line, nor steer the terminal, nor change what the characters around them look like. JSON needs none of this: it
//! has the text itself, see [`json::Text`](super::json::Text).

use std::fmt::{self, Display, Write};

/// Appends the text, with escapes in place of
///
/// * control characters, which steer a terminal;
/// * characters that are invisible or act upon their neighbours: format characters such as U+202E (right-to-left
///   override) and U+2066 (isolate), line and paragraph separators, blanks other than the ASCII one, combining marks and
///   unassigned characters. These are the ones that `char::escape_debug` does not leave as they are;
/// * bytes that are not UTF-8.
///
/// A character becomes `\n`, `\r`, `\t` or `\u{202e}`, and a byte `\xff`.
pub fn escape(out: &mut impl Write, bytes: &[u8]) -> fmt::Result {
    if let Some(plain) = plain(bytes) {
        return out.write_str(plain);
    }
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if is_shown(c) {
                out.write_char(c)?;
            } else {
                write!(out, "{}", c.escape_default())?;
            }
        }
        for byte in chunk.invalid() {
            write!(out, "\\x{byte:02x}")?;
        }
    }
    Ok(())
}

/// Whether the character is one that can be seen, and that leaves its neighbours as they are.
fn is_shown(c: char) -> bool {
    // Quotes and backslashes are shown as they are, other than by `escape_debug`.
    matches!(c, ' '..='~') || (!c.is_ascii() && c.escape_debug().len() == 1)
}

/// The bytes as text if they are printable ASCII, as nearly all names are.
pub(crate) fn plain(bytes: &[u8]) -> Option<&str> {
    let printable = bytes.iter().all(|byte| matches!(byte, b' '..=b'~'));
    printable.then(|| str::from_utf8(bytes).ok()).flatten()
}

/// Shows bytes by way of [`escape`]; width and alignment apply to what is shown.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(pub &'a [u8]);

impl<'a> Escaped<'a> {
    /// Text that another process chose.
    pub fn text(text: &'a str) -> Self {
        Self(text.as_bytes())
    }
}

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(plain) = plain(self.0) {
            f.pad(plain)
        } else if f.width().is_none() && f.precision().is_none() {
            escape(f, self.0)
        } else {
            let mut text = String::new();
            escape(&mut text, self.0)?;
            f.pad(&text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(text: &str) -> String {
        Escaped::text(text).to_string()
    }

    /// Check that what can be seen stays as it is, quotes, backslashes and letters of other scripts included.
    #[test]
    fn visible() {
        for text in [
            "",
            "handler4",
            "a \"b\" 'c' \\n",
            "br-é",
            "порт",
            "端口",
            "~",
        ] {
            assert_eq!(escaped(text), text);
        }
    }

    /// Check that control characters and bytes that are not UTF-8 are escaped.
    #[test]
    fn control_characters() {
        let bytes = b"a\nb\r\t\x1b[2J\0\x7f\xff\xc3\xa9\xc3";
        assert_eq!(
            Escaped(bytes).to_string(),
            "a\\nb\\r\\t\\u{1b}[2J\\u{0}\\u{7f}\\xff\u{e9}\\xc3"
        );
        assert_eq!(escaped("\u{85}\u{9b}"), "\\u{85}\\u{9b}");
    }

    /// Check that characters which turn the direction of text around, break lines or cannot be seen are escaped.
    ///
    /// The general categories Cf, Zl and Zp of Unicode 16, by hand.
    #[test]
    fn format_characters() {
        let bidirectional = ('\u{202a}'..='\u{202e}').chain('\u{2066}'..='\u{2069}');
        let others = [
            '\u{ad}',
            '\u{600}',
            '\u{61c}',
            '\u{180e}',
            '\u{200b}',
            '\u{200d}',
            '\u{200e}',
            '\u{200f}',
            '\u{2028}',
            '\u{2029}',
            '\u{2060}',
            '\u{feff}',
            '\u{fff9}',
            '\u{1d173}',
            '\u{e0001}',
            '\u{e0041}',
        ];
        // Besides, marks that go into the character before them, and blanks that look like none.
        let marks = ['\u{301}', '\u{34f}', '\u{fe0f}', '\u{a0}', '\u{3000}'];
        for c in bidirectional.chain(others).chain(marks) {
            let expected = format!("a\\u{{{:x}}}b", u32::from(c));
            assert_eq!(escaped(&format!("a{c}b")), expected);
        }
    }

    /// Check that a column is as wide as what is shown in it.
    #[test]
    fn padding() {
        assert_eq!(format!("{:<8}|", Escaped(b"ab")), "ab      |");
        assert_eq!(format!("{:<8}|", Escaped(b"a\n")), "a\\n     |");
        assert_eq!(format!("{:>4}|", Escaped("é".as_bytes())), "   é|");
    }
}
