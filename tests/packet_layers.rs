//! The layers of packets of many kinds, against those that tshark finds in them.
//!
//! Without tshark each kind is listed as ignored: this is why they have a harness of their own.

mod common;
#[path = "common/packets.rs"]
mod packets;

use std::io::Write;
use std::process::{Command, ExitCode};
use std::sync::LazyLock;

use common::is_installed;
use libtest_mimic::{Arguments, Failed, Trial};
use ovs_tracers::ovs::packet::{Link, Stop, Value, Visitor, decode};
use packets::{Kind, kinds};

/// Linux's number of the link type Ethernet in captures.
const LINKTYPE_ETHERNET: u32 = 1;

/// tshark's name of a layer of ours. `None` if it has none for it: the layer is then a part of the one around it, or
/// bytes.
fn tshark_name(layer: &str) -> Option<&'static str> {
    Some(match layer {
        "Ethernet" | "802.3" => "eth",
        "802.1Q" => "vlan",
        "802_1AD" => "ieee8021ad",
        "802.1AE" => "macsec",
        "ARP" => "arp",
        "LLC" => "llc",
        "Spanning Tree Protocol" => "stp",
        "SlowProtocol" => "slow",
        "LACP" => "lacp",
        "MarkerProtocol" => "marker",
        "OAM" => "oampdu",
        "LLDPDU" => "lldp",
        "CFM" => "cfm",
        "BFD" => "bfd",
        "PPP over Ethernet" => "pppoes",
        "PPP over Ethernet Discovery" => "pppoed",
        "PPP Link Layer" => "ppp",
        "PPP Link Control Protocol" => "lcp",
        "PPP_IPCP" => "ipcp",
        "PPP_IPV6CP" => "ipv6cp",
        "PPP_CCP" => "ccp",
        "PPP Password Authentication Protocol" => "pap",
        "PPP Challenge Handshake Authentication Protocol" => "chap",
        "MPLS" => "mpls",
        "EoMCW" => "pwethcw",
        "PW Associated Channel" => "pwach",
        "NSH" => "nsh",
        "IP" | "IP in ICMP" => "ip",
        "IPv6" | "IPv6 in ICMPv6" => "ipv6",
        "IPv6 Extension Header - Hop-by-Hop Options Header" => "ipv6.hopopts",
        "IPv6 Extension Header - Destination Options Header" => "ipv6.dstopts",
        "IPv6 Extension Header - Fragmentation header" => "ipv6.fraghdr",
        "IPv6 Option Header Routing" | "IPv6 Option Header Segment Routing" => "ipv6.routing",
        "AH" => "ah",
        "ESP" => "esp",
        "TCP" | "TCP in ICMP" => "tcp",
        "UDP" | "UDP in ICMP" => "udp",
        "SCTP" | "SCTP in ICMP" => "sctp",
        "ICMP" | "ICMP in ICMP" => "icmp",
        "IGMP" | "IGMPv3" => "igmp",
        "GRE" | "GRE PPTP" => "gre",
        "ERSPAN I" | "ERSPAN II" | "ERSPAN III" => "erspan",
        "VXLAN" => "vxlan",
        "GENEVE" => "geneve",
        "GTP-U Header" => "gtp",
        "LISP" => "lisp-data",
        "STT" => "stt",
        "EtherIP / RFC 3378" => "etherip",
        _ if layer.starts_with("ICMPv6 Neighbor Discovery Option") => return None,
        _ if layer.starts_with("ICMPv6") || layer.starts_with("MLD") => "icmpv6",
        _ => return None,
    })
}

/// Several labels, and the versions of IGMP, are one layer to tshark.
const MERGED: [&str; 2] = ["mpls", "igmp"];

fn merge(mut layers: Vec<&str>) -> Vec<&str> {
    layers.dedup_by(|next, last| next == last && MERGED.contains(next));
    layers
}

/// The layers that are in no list, and whether the decoder stopped.
#[derive(Default)]
struct Layers {
    names: Vec<&'static str>,
    lists: usize,
    stopped: bool,
}

impl Visitor for Layers {
    fn layer(&mut self, name: &'static str, _depth: usize) {
        if self.lists == 0 {
            self.names.extend(tshark_name(name));
        }
    }

    fn field(&mut self, _name: &'static str, _value: Value<'_>) {}

    fn begin(&mut self, _name: &'static str) {
        self.lists += 1;
    }

    fn end(&mut self) {
        self.lists -= 1;
    }

    fn stop(&mut self, _stop: Stop) {
        self.stopped = true;
    }
}

/// What tshark finds in each of the kinds: `eth:ethertype:ip:udp:data`.
fn run_tshark(kinds: &[Kind]) -> Result<Vec<String>, String> {
    let mut capture = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    // The header of a capture file: magic, version 2.4, time zone, accuracy, snap length, link type.
    for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65535, LINKTYPE_ETHERNET] {
        bytes.extend(u32::to_le_bytes(word));
    }
    for kind in kinds {
        let len = kind.bytes.len() as u32;
        for word in [0, 0, len, len] {
            bytes.extend(u32::to_le_bytes(word));
        }
        bytes.extend(&kind.bytes);
    }
    capture
        .write_all(&bytes)
        .map_err(|error| error.to_string())?;
    // Nothing of the tester's own settings.
    let settings = tempfile::tempdir().map_err(|error| error.to_string())?;
    let output = Command::new("tshark")
        .args(["-n", "-T", "fields", "-e", "frame.protocols", "-r"])
        .arg(capture.path())
        .env("WIRESHARK_CONFIG_DIR", settings.path())
        .output()
        .map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let found: Vec<String> = text.lines().map(str::to_owned).collect();
    if found.len() == kinds.len() {
        Ok(found)
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// Check that of a kind the same layers are found as tshark finds, unless the fixture says why not; and that the
/// decoder says why it stopped if there are fewer.
fn compare(kind: &Kind, tshark: &str) -> Result<(), Failed> {
    let theirs = tshark.split(':').filter(|name| {
        // What stands for a type, a guess, bytes, or a part of the layer around it.
        !matches!(*name, "ethertype" | "data" | "pwethheuristic" | "udpencap")
    });
    let theirs = merge(theirs.collect());
    let mut layers = Layers::default();
    decode(&kind.bytes, kind.bytes.len(), Link::Ethernet, &mut layers);
    let ours = merge(layers.names);
    let said = format!("ours {}, tshark's {}", ours.join(":"), theirs.join(":"));
    if ours != theirs && kind.differs.is_none() {
        return Err(said.into());
    }
    if ours.len() < theirs.len() && !layers.stopped {
        return Err(format!("fewer layers, and no reason: {said}").into());
    }
    Ok(())
}

fn main() -> ExitCode {
    static TSHARK: LazyLock<Result<Vec<String>, String>> = LazyLock::new(|| run_tshark(kinds()));

    let arguments = Arguments::from_args();
    let lacks_tshark = !is_installed("tshark");
    let trials = kinds().iter().enumerate().map(|(number, kind)| {
        let test = Trial::test(kind.name.clone(), move || match &*TSHARK {
            Ok(found) => compare(kind, &found[number]),
            Err(error) => Err(error.into()),
        });
        match lacks_tshark {
            true => test
                .with_kind("skipped, needs tshark")
                .with_ignored_flag(true),
            false => test,
        }
    });
    let trials = trials.collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}
