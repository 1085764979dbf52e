//! To come.
use std::io::{self, Write};
pub fn write(
    _out: &mut impl Write,
    _analysis: &super::analysis::Analysis,
    _title: &str,
) -> io::Result<()> {
    Ok(())
}
