//! The actions that have a flow key in them: what they set or push.

use std::fmt;

use crate::ovs::flow_key::odp::nsh::{nsh_push, nsh_set};
use crate::ovs::flow_key::odp::odp_set;
use crate::ovs::flow_key::odp::partial::{List, nested_end};
use crate::ovs::flow_key::{
    Attribute, NLA_HDRLEN, OVS_KEY_ATTR_ENCAP, OVS_KEY_ATTR_NSH, OVS_KEY_ATTR_TUNNEL,
};

pub(super) fn set(action: &Attribute<'_>, out: &mut impl fmt::Write) -> fmt::Result {
    let mut keys = action.nested();
    out.write_str("set(")?;
    let mut list = List::new(out);
    for key in keys.by_ref() {
        odp_set(&key, None, list.item()?)?;
    }
    let wrote = list.end(&keys)?;
    nested_end(action, wrote, out)?;
    out.write_str(")")
}

/// Writes an action that sets some bits: the payload of the key is a value and, behind it, its mask.
pub(super) fn set_masked(action: &Attribute<'_>, out: &mut impl fmt::Write) -> fmt::Result {
    let mut keys = action.nested();
    out.write_str("set(")?;
    let mut list = List::new(out);
    for key in keys.by_ref() {
        let out = list.item()?;
        match key.kind {
            OVS_KEY_ATTR_NSH => {
                out.write_str("nsh(")?;
                let wrote = nsh_set(key.nested(), out)?;
                nested_end(&key, wrote, out)?;
                out.write_str(")")?;
            }
            OVS_KEY_ATTR_ENCAP | OVS_KEY_ATTR_TUNNEL => odp_set(&key, None, out)?,
            _ if !key.is_complete() => odp_set(&key, None, out)?,
            _ => {
                let (value, mask) = key.payload.split_at(key.payload.len() / 2);
                odp_set(&half(&key, value), Some(half(&key, mask)), out)?;
            }
        }
    }
    let wrote = list.end(&keys)?;
    nested_end(action, wrote, out)?;
    out.write_str(")")
}

/// An attribute like `key`, whose payload is one half of the payload of that.
fn half<'a>(key: &Attribute<'a>, payload: &'a [u8]) -> Attribute<'a> {
    Attribute {
        len: (NLA_HDRLEN + payload.len()) as u16,
        payload,
        ..*key
    }
}

/// Writes an action that pushes a header, which is an `OVS_KEY_ATTR_NSH`.
pub(super) fn push_nsh(action: &Attribute<'_>, out: &mut impl fmt::Write) -> fmt::Result {
    let mut keys = action.nested();
    out.write_str("push_nsh(")?;
    let mut list = List::new(out);
    for key in keys.by_ref() {
        let out = list.item()?;
        if key.kind == OVS_KEY_ATTR_NSH {
            let wrote = nsh_push(key.nested(), out)?;
            nested_end(&key, wrote, out)?;
        } else {
            odp_set(&key, None, out)?;
        }
    }
    let wrote = list.end(&keys)?;
    nested_end(action, wrote, out)?;
    out.write_str(")")
}
