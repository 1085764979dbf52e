//! The netlink messages: questions for the kernel, and what its answers say.

use std::ffi::CStr;
use std::io;

use netlink_bindings::builtin::{BuiltinNfgenmsg, Nlmsghdr};
use netlink_bindings::{nlctrl, ovs_datapath, ovs_vport};

/// The types of the messages that end an answer, and the first one of those with content (`linux/netlink.h`).
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLMSG_MIN_TYPE: u16 = 0x10;

/// `NLM_F_DUMP_INTR` (`linux/netlink.h`): what is listed changed meanwhile, so that the list may be inconsistent.
const NLM_F_DUMP_INTR: u16 = 0x10;

/// `OVS_DP_CMD_GET` and `OVS_VPORT_CMD_GET` (`linux/openvswitch.h`).
const OVS_DP_CMD_GET: u8 = 3;
const OVS_VPORT_CMD_GET: u8 = 3;

/// `OVS_DATAPATH_VERSION` and `OVS_VPORT_VERSION` (`linux/openvswitch.h`).
const OVS_DATAPATH_VERSION: u8 = 2;
const OVS_VPORT_VERSION: u8 = 1;

/// An answer that is being read.
pub(super) struct Answer {
    /// The number of the request.
    sequence: u32,
    interrupted: bool,
    unreadable: bool,
}

impl Answer {
    pub(super) fn to(sequence: u32) -> Self {
        Self {
            sequence,
            interrupted: false,
            unreadable: false,
        }
    }

    /// Calls `each` with the payload of each message of the answer; it returns `None` if it cannot read that. True if
    /// the answer ends here and is whole.
    ///
    /// # Errors
    /// An error of the kernel's as it is; [`Interrupted`](io::ErrorKind::Interrupted) if what was listed changed
    /// meanwhile; another one if a message is cut off or cannot be read.
    pub(super) fn read(
        &mut self,
        datagram: &[u8],
        mut each: impl FnMut(&[u8]) -> Option<()>,
    ) -> io::Result<bool> {
        let mut rest = datagram;
        while let Some(header) = rest
            .get(..Nlmsghdr::len())
            .and_then(Nlmsghdr::new_from_slice)
        {
            let len = header.len as usize;
            let Some(payload) = rest.get(Nlmsghdr::len()..len) else {
                return Err(io::Error::other(
                    "a message of the kernel's answer is cut off",
                ));
            };
            rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
            // The rest of an answer that took too long.
            if header.seq != self.sequence {
                continue;
            }
            self.interrupted |= header.flags & NLM_F_DUMP_INTR != 0;
            match header.r#type {
                NLMSG_DONE | NLMSG_ERROR => return self.end(payload),
                NLMSG_MIN_TYPE.. => self.unreadable |= each(payload).is_none(),
                _ => {}
            }
        }
        Ok(false)
    }

    /// Reads the last message, which begins with 0 or a negative errno.
    fn end(&self, payload: &[u8]) -> io::Result<bool> {
        let error = payload
            .first_chunk()
            .map_or(0, |&bytes| i32::from_ne_bytes(bytes));
        if error < 0 {
            return Err(io::Error::from_raw_os_error(error.wrapping_neg()));
        }
        if self.interrupted {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if self.unreadable {
            let text = "a message of the kernel's answer cannot be read";
            return Err(io::Error::other(text));
        }
        Ok(true)
    }
}

/// A dump request for all datapaths: what comes behind `struct nlmsghdr`.
pub(super) fn datapaths_request() -> Vec<u8> {
    let mut request = generic_header(OVS_DP_CMD_GET, OVS_DATAPATH_VERSION);
    let header = ovs_datapath::OvsHeader { dp_ifindex: 0 };
    ovs_datapath::OpGetDump::encode_request(&mut request, &header);
    request
}

/// The same for the ports of a datapath.
pub(super) fn vports_request(dp_ifindex: u32) -> Vec<u8> {
    let mut request = generic_header(OVS_VPORT_CMD_GET, OVS_VPORT_VERSION);
    let header = ovs_vport::OvsHeader { dp_ifindex };
    ovs_vport::OpGetDump::encode_request(&mut request, &header);
    request
}

/// `struct genlmsghdr`. The crate's encoders of the ovs families begin behind it, at `struct
/// ovs_header`.
fn generic_header(cmd: u8, version: u8) -> Vec<u8> {
    let header = BuiltinNfgenmsg {
        cmd,
        version,
        reserved: 0,
    };
    header.as_slice().to_vec()
}

/// Number and name of a family (`CTRL_CMD_NEWFAMILY`).
pub(super) fn family(payload: &[u8]) -> Option<(u16, &CStr)> {
    let attributes = nlctrl::OpGetfamilyDump::decode_request(payload);
    Some((
        attributes.get_family_id().ok()?,
        attributes.get_family_name().ok()?,
    ))
}

/// Number of a multicast group of a family (`CTRL_CMD_NEWFAMILY`).
pub(super) fn group(payload: &[u8], name: &CStr) -> Option<u32> {
    let attributes = nlctrl::OpGetfamilyDump::decode_request(payload);
    let mut groups = attributes.get_mcast_groups().ok()?;
    let group = groups.find(|group| group.get_name() == Ok(name))?;
    group.get_id().ok()
}

/// Interface index and name of a datapath (`OVS_DP_CMD_NEW`).
pub(super) fn datapath(payload: &[u8]) -> Option<(u32, &CStr)> {
    let payload = payload.get(BuiltinNfgenmsg::len()..)?;
    let (header, attributes) = ovs_datapath::OpGetDump::decode_request(payload);
    Some((header.dp_ifindex, attributes.get_name().ok()?))
}

/// Number and name of a port (`OVS_VPORT_CMD_NEW`).
pub(super) fn vport(payload: &[u8]) -> Option<(u32, &CStr)> {
    let payload = payload.get(BuiltinNfgenmsg::len()..)?;
    let (_, attributes) = ovs_vport::OpGetDump::decode_request(payload);
    Some((attributes.get_port_no().ok()?, attributes.get_name().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::OVS_VPORT_MCGROUP;
    use super::super::vectors::*;
    use super::*;

    /// Check that a message longer than its datagram is an error, not a wait for the rest.
    #[test]
    fn a_cut_off_message_is_an_error() {
        let mut answer = Answer::to(3);
        let error = answer.read(&bytes(CUT_OFF), |_| panic!("half a message"));
        let error = error.unwrap_err();
        assert!(error.to_string().contains("cut off"), "{error}");
    }

    /// Check that the rest of an answer that came too late is not taken for the next one.
    #[test]
    fn a_late_answer_is_passed_over() {
        let mut answer = Answer::to(99);
        for late in [VPORT_VETH9, DONE] {
            let ends = answer.read(&bytes(late), |_| panic!("another answer"));
            assert!(!ends.unwrap());
        }
    }

    /// Check that an answer is no answer if the kernel says of any of its messages, the last one for example, that it
    /// may be inconsistent, or if a message has not what it should have.
    #[test]
    fn a_disturbed_answer_is_an_error() {
        let with_flag = |message: &str| {
            let mut message = bytes(message);
            message[6] |= NLM_F_DUMP_INTR as u8;
            message[8..12].copy_from_slice(&3u32.to_ne_bytes());
            message
        };
        let plain = |message: &str| {
            let mut message = with_flag(message);
            message[6] &= !NLM_F_DUMP_INTR as u8;
            message
        };
        let read = |messages: [Vec<u8>; 2], readable: bool| {
            let read = |_: &[u8]| readable.then_some(());
            Answer::to(3).read(&messages.concat(), read)
        };
        assert!(read([plain(VPORT_DP0), plain(DONE)], true).unwrap());
        for disturbed in [
            [with_flag(VPORT_DP0), plain(DONE)],
            [plain(VPORT_DP0), with_flag(DONE)],
        ] {
            let error = read(disturbed, true).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::Interrupted);
        }
        let error = read([plain(VPORT_DP0), plain(DONE)], false).unwrap_err();
        assert!(error.to_string().contains("cannot be read"), "{error}");
        // A message without content, of which there is nothing to read.
        let mut nothing = plain(VPORT_DP0);
        nothing[4..6].copy_from_slice(&1u16.to_ne_bytes());
        assert!(read([nothing, plain(DONE)], false).unwrap());
    }

    proptest! {
        /// Check that no answer, whole, cut or damaged, makes the parsers panic or loop.
        #[test]
        fn any_answer_is_survived(
            base in prop::sample::select(vec![
                FAMILY_DATAPATH, FAMILY_VPORT, DATAPATH_DP0, VPORT_DP0, VPORT_VXLAN, DONE, "",
            ]),
            damage in prop::collection::vec(any::<(prop::sample::Index, u8)>(), 0..6),
            tail in prop::collection::vec(any::<u8>(), 0..60),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut datagram = [bytes(base), tail].concat();
            for (index, byte) in damage.iter().filter(|_| !base.is_empty()) {
                let index = index.index(datagram.len());
                datagram[index] = *byte;
            }
            datagram.truncate(cut.index(datagram.len() + 1));
            let sequence = datagram.get(8..12).map_or([0; 4], |s| s.try_into().unwrap());
            let sequence = u32::from_ne_bytes(sequence);
            let _ = Answer::to(sequence).read(&datagram, |payload| {
                let _ = (family(payload), datapath(payload), vport(payload));
                let _ = group(payload, OVS_VPORT_MCGROUP);
                None
            });
            let _ = (family(&datagram), datapath(&datagram), vport(&datagram));
            let _ = group(&datagram, OVS_VPORT_MCGROUP);
        }
    }
}
