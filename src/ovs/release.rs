//! Releases of Open vSwitch.

/// Which release of Open vSwitch brought the probe `provider:name`: the first tag that has it.
pub fn release(probe: &str) -> Option<&'static str> {
    match probe.split(':').next() {
        Some("main" | "dpif_recv" | "dpif_netlink_operate__") => Some("2.17"),
        Some("udpif_revalidator" | "revalidate_ukey__") => Some("3.2"),
        Some("revalidate" | "revalidator_sweep__") => Some("3.4"),
        _ => None,
    }
}

/// Which release brought the probe, as the end of a sentence.
pub fn since(probe: &str) -> String {
    release(probe).map_or(String::new(), |release| {
        format!(", which needs Open vSwitch {release} or later")
    })
}
