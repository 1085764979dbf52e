//! The attributes in an action. Each type of attribute has one place in the action's text.

use std::fmt;

use crate::ovs::flow_key::Attribute;
use crate::ovs::flow_key::odp::fields::number;
use crate::ovs::flow_key::odp::partial::{List, nested_end, payload};

/// What an action has of one type of attribute.
#[derive(Clone, Copy)]
pub(super) enum Part {
    /// No place in the text.
    Unknown,
    /// A payload of so many bytes.
    Fixed(usize),
    /// An address of IPv4 or IPv6.
    Address,
    /// Any payload.
    Any,
    /// Attributes, or actions, which are shown as far as they go if they are cut.
    Nested,
    /// Anything; Open vSwitch does not show it.
    Hidden,
}

/// The attributes in an action by type. Of two of one type, the last one counts, as in Open vSwitch.
pub(super) struct Parts<'a, const N: usize> {
    action: Attribute<'a>,
    known: &'static [Part; N],
    parts: [Option<Attribute<'a>>; N],
}

impl<'a, const N: usize> Parts<'a, N> {
    pub fn of(action: &Attribute<'a>, known: &'static [Part; N]) -> Self {
        let mut parts = [None; N];
        for attribute in action.nested() {
            if fits(known, &attribute)
                && let Some(part) = parts.get_mut(usize::from(attribute.kind))
            {
                *part = Some(attribute);
            }
        }
        Parts {
            action: *action,
            known,
            parts,
        }
    }

    pub fn get(&self, kind: u16) -> Option<Attribute<'a>> {
        self.parts.get(usize::from(kind)).copied().flatten()
    }

    pub fn has(&self, kind: u16) -> bool {
        self.get(kind).is_some()
    }

    pub fn host32(&self, kind: u16) -> Option<u32> {
        let value = self.get(kind)?.payload.try_into().ok()?;
        Some(u32::from_ne_bytes(value))
    }

    pub fn host16(&self, kind: u16) -> Option<u16> {
        let value = self.get(kind)?.payload.try_into().ok()?;
        Some(u16::from_ne_bytes(value))
    }

    /// Whether the action has more than its known parts, or is cut.
    pub fn has_more(&self) -> bool {
        let mut run = self.action.nested();
        let more = run.by_ref().any(|attribute| !fits(self.known, &attribute));
        more || run.stopped().is_some() || !self.action.is_complete()
    }

    /// Ends the list of the parts with the attributes that are none of them, and closes its bracket.
    pub fn end(&self, mut list: List<'_, impl fmt::Write>) -> fmt::Result {
        let mut run = self.action.nested();
        for attribute in run.by_ref() {
            if !fits(self.known, &attribute) {
                let out = list.item()?;
                number(out, "attr", attribute.kind)?;
                out.write_str("(")?;
                payload(&attribute, out)?;
                out.write_str(")")?;
            }
        }
        let (wrote, out) = list.end_in(&run)?;
        nested_end(&self.action, wrote, out)?;
        out.write_str(")")
    }
}

/// Whether an attribute is one of the known parts, and has its length.
fn fits(known: &[Part], attribute: &Attribute<'_>) -> bool {
    match known.get(usize::from(attribute.kind)) {
        None | Some(Part::Unknown) => false,
        Some(Part::Fixed(len)) => attribute.is_complete() && attribute.payload.len() == *len,
        Some(Part::Address) => attribute.is_complete() && matches!(attribute.payload.len(), 4 | 16),
        Some(Part::Any) => attribute.is_complete(),
        Some(Part::Nested | Part::Hidden) => true,
    }
}
