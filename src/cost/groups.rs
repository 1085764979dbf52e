//! Groups upcalls by what they have in common, for example their port, and counts their times. There are at most
//! [`MAX_GROUPS`] groups and one for the others.

use std::cmp::Reverse;
use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::histogram::{EXACT, Samples};
use super::matcher::Set;
use super::stage::Stage;

/// Upcalls that have something in common.
pub struct Group {
    pub name: String,
    /// The name is final: it is from an upcall with a kernel upcall, which alone knows the device.
    named: bool,
    pub count: u64,
    /// The times of each of [`GROUP_STAGES`].
    pub stages: [Samples; 3],
}

/// The stages whose times are counted for each group.
pub const GROUP_STAGES: [Stage; 3] = [Stage::Queue, Stage::Lookup, Stage::Total];

/// The groups by one property of the upcalls. All upcalls that would need more than [`MAX_GROUPS`] groups share one.
///
/// The times of a stage are kept as long as those of all upcalls are ([`EXACT`]), so that the quantiles of a group which
/// has all upcalls are those of the stage.
#[derive(Default)]
pub struct Groups {
    numbers: HashMap<Vec<u8>, usize, RandomState>,
    groups: Vec<Group>,
    /// How many times there are of each of [`GROUP_STAGES`].
    times: [usize; 3],
}

pub const MAX_GROUPS: usize = 512;

impl Groups {
    pub(super) fn add(&mut self, key: &[u8], name: impl Fn() -> String, set: &Set<'_>) {
        let number = match self.numbers.get(key) {
            Some(number) => *number,
            None => {
                let full = self.groups.len() >= MAX_GROUPS;
                if !full || self.groups.len() == MAX_GROUPS {
                    self.groups.push(Group {
                        name: if full { "others".to_string() } else { name() },
                        named: full || set.upcall.is_some(),
                        count: 0,
                        stages: Default::default(),
                    });
                }
                let number = self.groups.len() - 1;
                if !full {
                    self.numbers.insert(key.to_vec(), number);
                }
                number
            }
        };
        let group = &mut self.groups[number];
        if !group.named && set.upcall.is_some() {
            group.name = name();
            group.named = true;
        }
        group.count += 1;
        for (i, stage) in GROUP_STAGES.into_iter().enumerate() {
            let Some(ns) = stage.of(set) else {
                continue;
            };
            self.times[i] += 1;
            if self.times[i] == EXACT + 1 {
                self.groups
                    .iter_mut()
                    .for_each(|group| group.stages[i].bucket());
            }
            let samples = &mut self.groups[number].stages[i];
            if self.times[i] > EXACT {
                samples.bucket();
            }
            samples.add(ns);
        }
    }

    /// The groups, those with the most upcalls first.
    pub fn by_count(&self) -> Vec<&Group> {
        let mut groups: Vec<&Group> = self.groups.iter().collect();
        groups.sort_by_key(|group| Reverse(group.count));
        groups
    }

    /// The groups in the order of their keys.
    pub(super) fn by_key(&self) -> Vec<&Group> {
        let mut keys: Vec<_> = self.numbers.iter().collect();
        keys.sort();
        keys.into_iter()
            .map(|(_, number)| &self.groups[*number])
            .collect()
    }
}
