//! Releases of Open vSwitch.

use std::fmt;

/// A release by its first two numbers: 3.2 comes before 3.10.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release(pub u32, pub u32);

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// Which release brought the probe `provider:name`: the first tag that has it.
pub fn release(probe: &str) -> Option<Release> {
    match probe.split(':').next() {
        Some("main" | "dpif_recv" | "dpif_netlink_operate__") => Some(Release(2, 17)),
        Some("udpif_revalidator" | "revalidate_ukey__") => Some(Release(3, 2)),
        Some("revalidate" | "revalidator_sweep__") => Some(Release(3, 4)),
        _ => None,
    }
}

/// Which release brought the probe, as the end of a sentence.
pub fn since(probe: &str) -> String {
    release(probe).map_or(String::new(), |release| {
        format!(", which needs Open vSwitch {release} or later")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that releases compare by their numbers, not by their letters.
    #[test]
    fn order() {
        assert!(Release(3, 10) > Release(3, 2));
        assert!(Release(2, 17) < Release(3, 0));
        assert_eq!(Release(3, 10).to_string(), "3.10");
    }
}
