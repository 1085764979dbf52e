//! A key attribute by attribute, in the layout of `upcall_monitor.py -k nlraw`.

use std::fmt;

use super::text::{dec, hex_spaces};
use super::{Stop, attributes, name};

/// Writes one line an attribute, in the layout of `upcall_monitor.py --flow-key-decode nlraw` (Open
/// vSwitch 3.1):
///
/// ```text
///     nla_len 8, nla_type OVS_KEY_ATTR_IN_PORT[3], data: 02 00 00 00␠
/// ```
///
/// `␠` is a space: one follows each byte. The attributes inside `OVS_KEY_ATTR_TUNNEL`,
/// `OVS_KEY_ATTR_ENCAP` and `OVS_KEY_ATTR_NSH` are shown as their bytes. A cut attribute's bytes
/// are followed by `...`, and a line that begins with `WARN: decode truncated;` says why the walk
/// ended early. Every line ends in a newline.
///
/// Where the script is wrong this differs: types 29 to 32 have their names, a type beyond is
/// `<UNKNOWN>`, the number comes without `NLA_F_*` flags, and a last attribute without its padding
/// is no reason to warn.
///
/// # Errors
///
/// Only those of `out`.
pub fn nlraw(key: &[u8], out: &mut impl fmt::Write) -> fmt::Result {
    let mut attributes = attributes(key);
    for attribute in attributes.by_ref() {
        out.write_str("    nla_len ")?;
        dec(out, attribute.len.into())?;
        out.write_str(", nla_type ")?;
        out.write_str(name(attribute.kind).unwrap_or("<UNKNOWN>"))?;
        out.write_str("[")?;
        dec(out, attribute.kind.into())?;
        out.write_str("], data: ")?;
        hex_spaces(out, attribute.payload)?;
        out.write_str(if attribute.is_complete() {
            "\n"
        } else {
            "...\n"
        })?;
    }
    match attributes.stopped() {
        None => Ok(()),
        Some(Stop::Header { .. }) => {
            out.write_str("    WARN: decode truncated; can't read header\n")
        }
        Some(Stop::Short { .. }) => out.write_str("    WARN: decode truncated; nla_len < 4\n"),
        Some(Stop::Cut { left, .. }) => {
            writeln!(
                out,
                "    WARN: decode truncated; nla_len > msg_len[{left}] "
            )
        }
    }
}
