//! Where a tool takes its events from: the probes of ovs-vswitchd, or the kernel.

use super::Error;
use super::probes::{Group, Source};
use super::target::Target;

/// The source that is used, and why it is not the other one.
#[derive(Debug)]
pub(super) struct Choice {
    pub source: Source,
    /// Why the probes cannot be used, if the kernel was chosen for that reason.
    without_probes: Option<Error>,
}

impl Choice {
    /// Takes the source that was asked for. If none was, these are the probes if each of the processes has all that
    /// `groups` attach to where uprobes can be, and the kernel if not.
    ///
    /// # Errors
    /// [`Error::Gone`] if one of the processes is gone.
    pub fn new(
        asked: Option<Source>,
        groups: &[&'static Group],
        targets: &[Target],
    ) -> Result<Self, Error> {
        let mut choice = Self {
            source: asked.unwrap_or(Source::Usdt),
            without_probes: None,
        };
        if asked.is_some() {
            return Ok(choice);
        }
        for probe in groups.iter().flat_map(|group| group.probes()) {
            for target in targets {
                let lacks = match target.find_probe(probe.provider, probe.name) {
                    Ok(found) => target.moved(&found),
                    Err(gone @ Error::Gone(_)) => return Err(gone),
                    Err(error) => Some(error),
                };
                if let Some(error) = lacks {
                    choice.source = Source::Kernel;
                    choice.without_probes.get_or_insert(error);
                }
            }
        }
        Ok(choice)
    }

    /// Why the kernel was chosen, for "attached to ...": "process 12 was built without probes".
    pub fn why(&self) -> Option<String> {
        self.without_probes.as_ref().map(Error::fact)
    }

    /// What keeps both sources from being used, if the kernel was chosen only because there are no probes.
    pub fn explain(&self, error: Error) -> Error {
        match (&self.without_probes, &error) {
            (Some(probes), Error::Unseen { why, .. }) => Error::NoSource {
                probes: probes.fact(),
                kernel: why.clone(),
                way_out: probes.way_out(),
            },
            _ => error,
        }
    }
}
