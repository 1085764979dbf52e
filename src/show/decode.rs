//! The forms in which netlink attributes are shown.

use clap::ValueEnum;

/// How a flow key, or a request to the datapath, is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Decode {
    None,
    /// Bytes
    Hex,
    /// Netlink attributes, their values as bytes
    Nlraw,
    /// The syntax of ovs-dpctl dump-flows and ovs-appctl ofproto/trace
    Odp,
}
