//! Which netlink messages of the kernel are upcalls.

use std::str::FromStr;

use super::Error;
use crate::ovs::ports;

/// `NETLINK_GENERIC` (`linux/netlink.h`).
const NETLINK_GENERIC: u16 = 16;

/// The messages that bring upcalls: those of the generic netlink family ovs_packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpcallMessages {
    pub protocol: u16,
    /// `nlmsg_type`: the number of the family, which the kernel chooses when the module openvswitch is loaded.
    pub family: u16,
}

impl UpcallMessages {
    /// Those of this kernel.
    ///
    /// # Errors
    /// [`Error::Unseen`].
    pub fn of_kernel() -> Result<Self, Error> {
        let unseen = |why: String| Error::Unseen {
            what: "received upcalls",
            why,
        };
        let families =
            ports::families([c"ovs_packet"]).map_err(|error| unseen(error.to_string()))?;
        let [Some(family)] = families else {
            return Err(unseen(
                "the kernel's module openvswitch is not loaded".into(),
            ));
        };
        Ok(Self {
            protocol: NETLINK_GENERIC,
            family,
        })
    }
}

/// `PROTOCOL:FAMILY`, for tests: a stand-in for ovs-vswitchd has other messages.
impl FromStr for UpcallMessages {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text
            .split_once(':')
            .and_then(|(protocol, family)| Some((protocol.parse().ok()?, family.parse().ok()?)));
        let (protocol, family) = numbers.ok_or("it is PROTOCOL:FAMILY, 2:27 for example")?;
        Ok(Self { protocol, family })
    }
}
