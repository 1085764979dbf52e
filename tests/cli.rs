//! Command lines and what they print, in `tests/cmd`. `TRYCMD=overwrite cargo test --test cli` writes what is new.

/// Check that errors read as they are meant to.
#[test]
fn errors() {
    trycmd::TestCases::new().case("tests/cmd/*.trycmd");
}
