//! How fields are given to the visitor, and read and given at once.

use super::{Decoder, Halt, Span, Value, Visitor};

impl<'a, V: Visitor> Decoder<'_, V> {
    pub(super) fn field(&mut self, name: &'static str, value: Value<'_>) {
        self.visitor.field(name, value);
    }

    pub(super) fn int(&mut self, name: &'static str, value: impl Into<u64>) {
        self.field(name, Value::Int(value.into()));
    }

    pub(super) fn hex(&mut self, name: &'static str, value: impl Into<u64>) {
        self.field(name, Value::Hex(value.into()));
    }

    /// A number which may have a name, else in decimal.
    pub(super) fn named(
        &mut self,
        field: &'static str,
        value: impl Into<u64>,
        name: Option<&'static str>,
    ) {
        let value = value.into();
        let int = Value::Int(value);
        self.field(field, name.map_or(int, |name| Value::Name { value, name }));
    }

    /// A number which may have a name, else in hexadecimal.
    pub(super) fn named_hex(
        &mut self,
        field: &'static str,
        value: impl Into<u64>,
        name: Option<&'static str>,
    ) {
        let value = value.into();
        let hex = Value::Hex(value);
        self.field(field, name.map_or(hex, |name| Value::Name { value, name }));
    }

    pub(super) fn flags(
        &mut self,
        name: &'static str,
        value: impl Into<u64>,
        names: &'static [&'static str],
        separator: &'static str,
    ) {
        let value = value.into();
        self.field(
            name,
            Value::Flags {
                value,
                names,
                separator,
            },
        );
    }

    /// Decodes a number of `len` bytes, at most 8.
    pub(super) fn read_int(
        &mut self,
        name: &'static str,
        len: usize,
        span: &mut Span<'a>,
    ) -> Result<u64, Halt> {
        let value = span.number(len)?;
        self.int(name, value);
        Ok(value)
    }

    /// Decodes a number of `len` bytes, at most 8, which is written in hexadecimal.
    pub(super) fn read_hex(
        &mut self,
        name: &'static str,
        len: usize,
        span: &mut Span<'a>,
    ) -> Result<u64, Halt> {
        let value = span.number(len)?;
        self.hex(name, value);
        Ok(value)
    }

    /// Decodes `len` bytes without a meaning of their own.
    pub(super) fn read_bytes(
        &mut self,
        name: &'static str,
        len: usize,
        span: &mut Span<'a>,
    ) -> Result<(), Halt> {
        let bytes = span.bytes(len)?;
        self.field(name, Value::Bytes(bytes));
        Ok(())
    }

    pub(super) fn read_mac(&mut self, name: &'static str, span: &mut Span<'a>) -> Result<(), Halt> {
        let address = span.array()?;
        self.field(name, Value::Mac(address));
        Ok(())
    }

    pub(super) fn read_ipv4(
        &mut self,
        name: &'static str,
        span: &mut Span<'a>,
    ) -> Result<(), Halt> {
        let address = span.array()?;
        self.field(name, Value::Ipv4(address));
        Ok(())
    }

    /// The value of an option or TLV which its header gives `len` bytes: what `value` does not decode of it is the
    /// field `rest`.
    pub(super) fn option_value(
        &mut self,
        len: usize,
        rest: &'static str,
        span: &mut Span<'a>,
        value: impl FnOnce(&mut Self, &mut Span<'a>) -> Result<(), Halt>,
    ) -> Result<(), Halt> {
        let mut body = span.split(len);
        let whole = body.bytes.len() == len;
        if let Err(halt) = value(self, &mut body) {
            self.halt(halt);
        }
        if !body.is_empty() {
            self.field(rest, Value::Bytes(body.rest()));
        }
        if whole { Ok(()) } else { Err(body.end()) }
    }
}
