//! The mask that belongs to a key: a run of the same attributes, of which each bit says whether it matters.

use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::super::*;

/// The masks of a run of attributes; without a run, every bit matters.
#[derive(Clone)]
pub(super) struct Masks<'a>(Option<(Attributes<'a>, bool)>);

/// What a run of masks says of one attribute.
pub(super) enum Found<'a> {
    /// There is no mask: every bit matters.
    Exact,
    Mask(Attribute<'a>),
    /// It is not in the run: no bit matters.
    Wildcard,
    /// It is not in the part of the run that is there.
    Lost,
}

/// A mask that wildcards everything. No attribute that the kernel knows is longer, but a sequence of Geneve options.
static WILDCARD: [u8; 256] = [0; 256];

impl<'a> Masks<'a> {
    pub const EXACT: Self = Masks(None);

    /// The masks in an attribute, which has the same nested ones as the attribute of the key.
    pub fn in_attribute(mask: Option<Attribute<'a>>) -> Self {
        Masks(mask.map(|mask| (mask.nested(), mask.is_complete())))
    }

    /// As [`in_attribute`](Self::in_attribute), where Open vSwitch takes an empty mask for none.
    pub fn if_any(mask: Option<Attribute<'a>>) -> Self {
        Self::in_attribute(mask.filter(|mask| mask.len > NLA_HDRLEN as u16))
    }

    pub fn are_exact(&self) -> bool {
        self.0.is_none()
    }

    pub fn iter(&self) -> impl Iterator<Item = Attribute<'a>> + use<'a> {
        self.0.clone().into_iter().flat_map(|(run, _)| run)
    }

    /// The mask of an attribute of this type. That of a `nested` one may be cut.
    pub fn find(&self, kind: u16, nested: bool) -> Found<'a> {
        let Some((mut run, complete)) = self.0.clone() else {
            return Found::Exact;
        };
        match run.find(|mask| mask.kind == kind) {
            Some(mask) if mask.is_complete() || nested => Found::Mask(mask),
            None if complete && run.stopped().is_none() => Found::Wildcard,
            _ => Found::Lost,
        }
    }

    /// Whether there are masks that are not known.
    pub fn are_cut(&self) -> bool {
        self.0.clone().is_some_and(|(mut run, complete)| {
            run.by_ref().for_each(drop);
            !complete || run.stopped().is_some()
        })
    }
}

/// Whether an attribute of a key has others in it. All of them are shown as far as they go if they are cut.
pub(super) fn is_nested(kind: u16) -> bool {
    matches!(
        kind,
        OVS_KEY_ATTR_ENCAP | OVS_KEY_ATTR_TUNNEL | OVS_KEY_ATTR_NSH
    )
}

/// The mask of an attribute that no mask has.
pub(super) fn wildcard<'a>(attribute: &Attribute<'a>, nested: bool) -> Attribute<'a> {
    let payload_len = if nested { 0 } else { attribute.payload.len() };
    Attribute {
        len: (NLA_HDRLEN + payload_len) as u16,
        payload: WILDCARD.get(..payload_len).unwrap_or_default(),
        ..*attribute
    }
}

/// The mask of a payload that is a `T`.
pub(super) fn of<'a, T>(_: &T, mask: Option<Attribute<'a>>) -> Option<&'a T>
where
    T: FromBytes + Immutable + KnownLayout + Unaligned + 'a,
{
    T::ref_from_bytes(mask?.payload).ok()
}

/// The mask of a `u32` in this host's byte order.
pub(super) fn host32(mask: Option<Attribute<'_>>) -> Option<u32> {
    mask?.payload.try_into().ok().map(u32::from_ne_bytes)
}

/// The mask of a `u16` in network byte order.
pub(super) fn net16(mask: Option<Attribute<'_>>) -> Option<u16> {
    mask?.payload.try_into().ok().map(u16::from_be_bytes)
}

/// The mask of a `u16` in this host's byte order.
pub(super) fn host16(mask: Option<Attribute<'_>>) -> Option<u16> {
    mask?.payload.try_into().ok().map(u16::from_ne_bytes)
}

/// The mask of a `u32` in network byte order.
pub(super) fn net32(mask: Option<Attribute<'_>>) -> Option<u32> {
    mask?.payload.try_into().ok().map(u32::from_be_bytes)
}

/// Whether a mask is as long as what it masks. Nested ones have lengths of their own, and what is unknown is shown as
/// bytes.
pub(super) fn fits(attribute: &Attribute<'_>, mask: &Attribute<'_>) -> bool {
    mask.payload.len() == attribute.payload.len()
        || matches!(
            attribute.key(),
            Key::Unknown | Key::Cut | Key::BadLength { .. }
        )
        || is_nested(attribute.kind)
}

/// Whether no bit of an attribute matters. Of some that have bits without a meaning Open vSwitch does not look at these.
pub(super) fn is_wildcard(attribute: &Attribute<'_>, mask: &Attribute<'_>) -> bool {
    let zeros = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    match attribute.key() {
        _ if !fits(attribute, mask) => false,
        Key::Unknown | Key::Cut | Key::BadLength { .. } => false,
        Key::TcpFlags(_) => net16(Some(*mask)).is_some_and(|mask| mask & 0xfff == 0),
        Key::Ipv6(ip) => of(ip, Some(*mask)).is_some_and(|mask| {
            zeros(&mask.src)
                && zeros(&mask.dst)
                && mask.label.get() & 0xf_ffff == 0
                && [mask.proto, mask.tclass, mask.hlimit, mask.frag] == [0; 4]
        }),
        // Their last bytes are padding.
        Key::Arp(_) => zeros(&mask.payload[..22]),
        Key::CtTuple4(_) => zeros(&mask.payload[..13]),
        Key::CtTuple6(_) => zeros(&mask.payload[..37]),
        _ => zeros(mask.payload),
    }
}
