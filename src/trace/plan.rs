//! What becomes of a tool's declaration on this kernel and for these processes.

use std::mem::MaybeUninit;

use libbpf_rs::{Link, Object, OpenObject};

use super::attach::attach;
use super::kernel;
use super::probes::{Group, Point, Source, Usdt, Way, Without};
use super::programs::Programs;
use super::sites::Sites;
use super::source;
use super::spec::COOKIE_TARGET_SHIFT;
use super::target::Target;
use super::{Error, libbpf_log};
use crate::show::message::note;
use crate::show::number::number;

/// How often a tool opens its BPF object at most: once, and once more for each way that fails.
const ATTEMPTS: usize = 8;

/// Room for the BPF object of each attempt.
pub type Storage = [MaybeUninit<OpenObject>; ATTEMPTS];

/// Room in which no object has been opened yet.
pub fn storage() -> Storage {
    [const { MaybeUninit::uninit() }; ATTEMPTS]
}

/// The ways that are taken on this kernel, and where the probes of the traced processes are.
#[derive(Debug)]
pub struct Plan {
    groups: Vec<Choice>,
    chosen: source::Choice,
    pids: Vec<u32>,
    sites: Sites,
    multi: bool,
    /// Of groups that have several ways, the one that is taken; for tests.
    only: Option<String>,
}

/// The way that is taken for a group.
#[derive(Debug)]
struct Choice {
    group: &'static Group,
    /// The index of the way; the number of ways if none remains.
    way: usize,
    /// What the ways before it lack.
    lacks: Vec<String>,
}

/// What is attached.
pub struct Attached {
    /// In the order in which they are to be detached.
    pub links: Vec<Link>,
    /// For "attached to ...".
    pub what: String,
    /// All programs that are attached.
    pub programs: Programs,
}

impl Plan {
    /// Chooses the source, unless one is `asked` for, and the first way of each group that this kernel has; and finds
    /// the probes in the processes.
    ///
    /// `groups` returns what is to be attached to with a source. `only` is for tests: of groups that have several ways
    /// it takes the one of that name only.
    ///
    /// # Errors
    /// [`Error::Unseen`] or [`Error::NoSource`] if a group that is necessary has no way; those of
    /// [`Target::find_probe`] and of [`Sites`].
    pub fn new(
        asked: Option<Source>,
        groups: impl Fn(Source) -> Vec<&'static Group>,
        targets: &[Target],
        only: Option<&str>,
    ) -> Result<Self, Error> {
        let pids: Vec<u32> = targets.iter().map(Target::pid).collect();
        let plan = Self::of_running(asked, groups, targets, only);
        plan.map_err(|error| error.or_gone(&pids))
    }

    fn of_running(
        asked: Option<Source>,
        groups: impl Fn(Source) -> Vec<&'static Group>,
        targets: &[Target],
        only: Option<&str>,
    ) -> Result<Self, Error> {
        let asked = asked.or(groups(Source::Kernel).is_empty().then_some(Source::Usdt));
        let chosen = source::Choice::new(asked, &groups(Source::Usdt), targets)?;
        let groups = groups(chosen.source);
        let mut plan = Self {
            groups: Vec::new(),
            chosen,
            pids: targets.iter().map(Target::pid).collect(),
            sites: Sites::default(),
            multi: kernel::has_uprobe_multi(),
            only: only.map(str::to_string),
        };
        for group in groups {
            let mut choice = Choice {
                group,
                way: 0,
                lacks: Vec::new(),
            };
            if let Err(error) = choice.settle(only) {
                return Err(plan.explain(error));
            }
            plan.groups.push(choice);
        }
        for choice in &plan.groups {
            for point in choice.points() {
                if let Point::Usdt { probe, .. } = point {
                    plan.sites.find(probe, targets)?;
                }
            }
        }
        Ok(plan)
    }

    /// Whether any program is attached to a function of the kernel.
    pub fn is_in_kernel(&self) -> bool {
        let mut points = self.groups.iter().flat_map(Choice::points);
        points.any(|point| matches!(point, Point::Kernel { .. }))
    }

    /// Where the events come from.
    pub fn source(&self) -> Source {
        self.chosen.source
    }

    /// The way that is taken for a group, if there is one.
    pub fn way(&self, group: &'static Group) -> Option<&'static Way> {
        let mut groups = self.groups.iter();
        let choice = groups.find(|choice| std::ptr::eq(choice.group, group));
        choice?.way()
    }

    /// What keeps both sources from being used, if the kernel was chosen only because there are no probes.
    pub fn explain(&self, error: Error) -> Error {
        self.chosen.explain(error)
    }

    /// Where the probes are, and how their arguments are fetched.
    pub fn sites(&self) -> &Sites {
        &self.sites
    }

    /// Has libbpf load the programs of the ways that are taken, those named in `also`, and no other.
    pub fn select(&self, object: &mut OpenObject, also: &[&str]) {
        let points = || self.groups.iter().flat_map(Choice::points);
        for mut program in object.progs_mut() {
            let name = program.name().to_string_lossy().into_owned();
            let wanted = points().any(|point| point.program(self.multi) == name);
            program.set_autoload(wanted || also.contains(&&*name));
        }
    }

    /// Calls `load`, which opens a BPF object, loads it and attaches it, for the ways that are taken. Each time that a
    /// way fails, it calls `load` again for the next one.
    ///
    /// # Errors
    /// Those of `load` if no other way remains, and [`Error::Unseen`]; [`Error::Gone`] if it failed because one of the
    /// processes has exited.
    pub fn load<'obj, T>(
        &mut self,
        storage: &'obj mut Storage,
        verbose: bool,
        load: impl Fn(&Self, &'obj mut MaybeUninit<OpenObject>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut rooms = storage.iter_mut();
        loop {
            let room = rooms.next().ok_or(Error::NoWay)?;
            match load(self, room) {
                Ok(loaded) => {
                    self.groups.iter().for_each(Choice::warn);
                    return Ok(loaded);
                }
                Err(error) => self.fall_back(error.or_gone(&self.pids), verbose)?,
            }
        }
    }

    /// After a failure to load or to attach: goes on to the next way of the group whose program failed.
    ///
    /// # Errors
    /// `error` itself if no other way could replace what failed; [`Error::Unseen`] if no way remains.
    fn fall_back(&mut self, error: Error, verbose: bool) -> Result<(), Error> {
        // It is taken even if nobody reads it, so that it does not explain a later failure.
        let log = libbpf_log::take();
        let failed = match &error {
            Error::Load { program, .. }
            | Error::Rejected { program }
            | Error::Confidential { program } => program.as_deref(),
            Error::Attach { program, .. } => Some(&**program),
            _ => {
                libbpf_log::put_back(log);
                return Err(error);
            }
        };
        let multi = self.multi;
        let replaceable = |choice: &&mut Choice| {
            choice.points().iter().any(|point| {
                let is_kernel = matches!(point, Point::Kernel { .. });
                is_kernel && failed.is_none_or(|failed| point.program(multi) == failed)
            })
        };
        let Some(choice) = self.groups.iter_mut().find(replaceable) else {
            libbpf_log::put_back(log);
            return Err(error);
        };
        if verbose {
            eprint!("{log}");
        }
        choice.lacks(error.fact());
        choice.way += 1;
        choice.settle(self.only.as_deref())
    }

    /// Attaches the programs: those of the last point first.
    ///
    /// # Errors
    /// [`Error::Attach`], and those of [`Object::attach_path`](super::object::Object::attach_path).
    pub fn attach(&self, object: &Object) -> Result<Attached, Error> {
        let mut links = Vec::new();
        let mut programs = Programs::default();
        for point in self.groups.iter().flat_map(Choice::points).rev() {
            let name = point.program(self.multi);
            let program = object
                .progs_mut()
                .find(|program| program.name() == &*name)
                .ok_or_else(|| Error::NoProgram(name.clone()))?;
            programs.add(&program);
            match point {
                Point::Kernel { function, .. } => {
                    let link = program.attach().map_err(|error| Error::Attach {
                        path: format!("{function}() of the kernel"),
                        program: name,
                        error,
                    })?;
                    links.push(link);
                }
                Point::Usdt { probe, .. } => {
                    for (index, pid, object, sites) in self.sites.of(probe, &self.pids) {
                        let sites = sites.iter().map(|(site, spec)| {
                            // The lower bits number the argument string, those above them the daemon.
                            let cookie = spec | (index as u64) << COOKIE_TARGET_SHIFT;
                            (site.clone(), cookie)
                        });
                        let sites: Vec<_> = sites.collect();
                        links.extend(attach(&program, self.multi, pid, object, &sites)?);
                    }
                }
            }
        }
        links.reverse();
        Ok(Attached {
            links,
            what: self.describe(),
            programs,
        })
    }

    /// What is seen, for "attached to ...".
    fn describe(&self) -> String {
        let mut probes = Vec::new();
        let mut parts = Vec::new();
        for choice in self.groups.iter().filter(|choice| choice.way().is_some()) {
            let before = probes.len();
            let of_way = choice.way().into_iter().flat_map(Way::probes);
            probes.extend(of_way.map(Usdt::to_string));
            if probes.len() == before && !choice.group.what.is_empty() {
                let mut part = choice.group.what.to_string();
                // With the kernel as the source every way is one to its functions, and costs differ.
                if let (Source::Kernel, Some(way), 1..) = (self.source(), choice.way(), choice.way)
                {
                    part += &format!(" (by {})", way.name);
                }
                parts.push(part);
            }
        }
        let pids: Vec<String> = self.pids.iter().map(u32::to_string).collect();
        if self.source() == Source::Kernel {
            let why = match self.chosen.why() {
                Some(why) => format!(" ({why})"),
                None => String::new(),
            };
            return format!(
                "{} of process {}, by the kernel's own functions{why}",
                join(&parts),
                join(&pids)
            );
        }
        if !probes.is_empty() {
            let sites = number(self.sites.count() as u64, "sites");
            let probes = format!("{} of process {} ({sites})", join(&probes), join(&pids));
            parts.insert(0, probes);
        }
        parts.join(" and to ")
    }
}

/// `a, b and c`.
fn join(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

impl Choice {
    fn way(&self) -> Option<&'static Way> {
        self.group.ways.get(self.way)
    }

    fn points(&self) -> &'static [Point] {
        self.way().map_or(&[], |way| way.points)
    }

    fn lacks(&mut self, what: String) {
        if !self.lacks.contains(&what) {
            self.lacks.push(what);
        }
    }

    /// Goes on to the first way that lacks nothing.
    fn settle(&mut self, only: Option<&str>) -> Result<(), Error> {
        let several = self.group.ways.len() > 1;
        while let Some(way) = self.way() {
            let missing = match only {
                Some(only) if several && only != way.name => {
                    Some("another way was asked for".to_string())
                }
                _ => way.needs.iter().find_map(|need| need.missing()),
            };
            match missing {
                None => return Ok(()),
                Some(missing) => self.lacks(missing),
            }
            self.way += 1;
        }
        match self.group.without {
            Without::Error => Err(Error::Unseen {
                what: self.group.what,
                why: self.lacks.join("; "),
            }),
            Without::Warning(_) | Without::Nothing => Ok(()),
        }
    }

    /// Warns if the events of the group cannot be seen.
    fn warn(&self) {
        let Group { what, without, .. } = self.group;
        if let (None, Without::Warning(more)) = (self.way(), without) {
            let why = self.lacks.join("; ");
            let more = match *more {
                "" => String::new(),
                more => format!("\n  {more}"),
            };
            note(format_args!("warning: {what} cannot be seen: {why}{more}"));
        }
    }
}
