//! Where the probes of a tool are in the traced processes, and how their arguments are fetched there.

use super::object::Object;
use super::probes::Usdt;
use super::spec::{MAX_SPECS, Spec, specs};
use super::target::Target;
use super::usdt::{Arg, Machine, Site, parse_args};
use super::{Error, kernel};
use crate::ovs::release::{Release, release};
use crate::show::message::note;

/// The sites of several probes.
#[derive(Debug, Default)]
pub struct Sites {
    probes: Vec<Found>,
}

#[derive(Debug)]
struct Found {
    probe: &'static Usdt,
    /// The different argument strings, each as the specs of the arguments that are fetched.
    strings: Vec<(String, Machine)>,
    specs: Vec<Vec<Spec>>,
    /// For each process, its objects that have the probe.
    targets: Vec<Vec<InObject>>,
}

/// The sites in an object, each with the number of its argument string.
type InObject = (Object, Vec<(Site, u64)>);

impl Sites {
    /// Finds a probe in each of the processes, and warns of sites at which no uprobe can be.
    ///
    /// # Errors
    /// Those of [`Target::find_probe`]; [`Error::Arguments`], [`Error::TooManySpecs`]; [`Error::NoCookie`] if
    /// sites differ and the kernel cannot say which of them fired.
    pub(super) fn find(&mut self, probe: &'static Usdt, targets: &[Target]) -> Result<(), Error> {
        let mut found = Found {
            probe,
            strings: Vec::new(),
            specs: Vec::new(),
            targets: Vec::new(),
        };
        for target in targets {
            let mut objects = Vec::new();
            let everywhere = target.find_probe(probe.provider, probe.name)?;
            if let Some(moved) = target.moved(&everywhere) {
                let fact = moved.fact();
                note(format_args!(
                    "warning: {fact}\n  what passes there is not seen; --source kernel shows all"
                ));
            }
            for (object, of_object) in everywhere {
                let mut sites = Vec::new();
                let mapped = |site: &Site| object.code(site.offset).next().is_some();
                for site in of_object.sites.into_iter().filter(mapped) {
                    let spec = found.spec(&site.args, of_object.machine)?;
                    sites.push((site, spec as u64));
                }
                if !sites.is_empty() {
                    objects.push((object, sites));
                }
            }
            found.targets.push(objects);
        }
        if found.strings.len() > MAX_SPECS {
            return Err(Error::TooManySpecs {
                probe: probe.to_string(),
                count: found.strings.len(),
                most: MAX_SPECS,
            });
        }
        if (found.strings.len() > 1 || targets.len() > 1) && !kernel::has_cookie() {
            return Err(Error::NoCookie {
                release: kernel::kernel_release(),
                probe: probe.to_string(),
                several: targets.len() > 1,
            });
        }
        self.probes.push(found);
        Ok(())
    }

    /// Writes the specs of a probe's arguments where the programs look for them, and returns how many argument strings
    /// there are; 0 if the probe is not attached to.
    pub fn install<T: From<Spec> + Copy, const N: usize>(
        &self,
        probe: &'static Usdt,
        to: &mut [[T; N]],
    ) -> u32 {
        let mut count = 0;
        let specs = self.found(probe).map_or(&[][..], |found| &found.specs[..]);
        for (to, specs) in to.iter_mut().zip(specs) {
            for (to, spec) in to.iter_mut().zip(specs) {
                *to = T::from(*spec);
            }
            count += 1;
        }
        count
    }

    /// The objects of each process that have the probe: the number of the process, its id, the object, its sites.
    pub(super) fn of<'a>(
        &'a self,
        probe: &'static Usdt,
        pids: &'a [u32],
    ) -> impl Iterator<Item = (usize, u32, &'a Object, &'a [(Site, u64)])> {
        let targets = self
            .found(probe)
            .map_or(&[][..], |found| &found.targets[..]);
        let targets = targets.iter().zip(pids).enumerate();
        targets.flat_map(|(index, (objects, pid))| {
            let objects = objects.iter();
            objects.map(move |(object, sites)| (index, *pid, object, &sites[..]))
        })
    }

    /// How many sites there are.
    pub(super) fn count(&self) -> usize {
        let objects = self.probes.iter().flat_map(|found| &found.targets);
        let sites = objects.flatten().map(|(_, sites)| sites.len());
        sites.sum()
    }

    fn found(&self, probe: &'static Usdt) -> Option<&Found> {
        self.probes
            .iter()
            .find(|found| std::ptr::eq(found.probe, probe))
    }
}

impl Found {
    /// The number of an argument string.
    fn spec(&mut self, args: &str, machine: Machine) -> Result<usize, Error> {
        // If none is fetched it does not matter what the arguments are.
        let args = if self.probe.fetched.is_empty() {
            ""
        } else {
            args
        };
        let known = |(string, of): &(String, Machine)| string == args && *of == machine;
        if let Some(spec) = self.strings.iter().position(known) {
            return Ok(spec);
        }
        self.specs.push(self.probe.specs(args, machine)?);
        self.strings.push((args.to_string(), machine));
        Ok(self.strings.len() - 1)
    }
}

impl Usdt {
    /// How the wanted arguments are fetched, by the argument string of a site.
    fn specs(&self, args: &str, machine: Machine) -> Result<Vec<Spec>, Error> {
        if self.fetched.is_empty() {
            return Ok(Vec::new());
        }
        let parsed = parse_args(args, machine).map_err(Error::Argument)?;
        let is_pointer = |&i: &usize| parsed.get(i).is_some_and(|arg| arg.size == 8);
        if parsed.len() != self.args || !self.pointers.iter().all(is_pointer) {
            let probe = self.to_string();
            return Err(Error::Arguments {
                release: release(&probe).unwrap_or(Release(2, 17)),
                args: args.to_string(),
                probe,
            });
        }
        let fetched: Vec<&Arg> = self.fetched.iter().map(|&i| &parsed[i]).collect();
        Ok(specs(&fetched))
    }
}
