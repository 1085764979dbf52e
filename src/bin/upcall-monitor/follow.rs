//! Waiting for the next ovs-vswitchd.

use std::time::{Duration, Instant};

use ovs_tracers::cli::options::SourceArg;
use ovs_tracers::show::message::note;
use ovs_tracers::trace::kernel::has_kernel_btf;
use ovs_tracers::trace::target::Target;
use ovs_tracers::trace::until::Until;
use ovs_tracers::trace::{self, Candidate, process};
use ovs_tracers::upcall::probes::RECV_UPCALL;

use crate::args::{Args, ResultFilter};
use crate::live::upcall_messages;

/// How often --follow looks for the next daemon. What it receives in its first tenth of a second is missed.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(50);

/// How long an obstacle may last before a warning reports it.
const FOLLOW_PATIENCE: Duration = Duration::from_secs(1);

/// Waits until an ovs-vswitchd runs that is not one of `others` and whose upcalls can be seen. `None` if something ends the trace before.
pub fn next_daemon(
    args: &Args,
    others: &[Candidate],
    until: &Until,
) -> anyhow::Result<Option<Target>> {
    let source = match args.filters.result() {
        ResultFilter::Error => None,
        ResultFilter::Ok | ResultFilter::Any => Some(args.trace.source),
    };
    // The process that was found when it was last looked for, and that had no probes then.
    let (mut found, mut without_probes) = (None, None);
    let mut next = || -> Result<Option<Target>, trace::Error> {
        let mut daemons = process::ovs_vswitchds()?;
        daemons.retain(|daemon| others.iter().all(|other| other.pid != daemon.pid));
        let forks = daemons.iter().any(Candidate::forks);
        let target = Target::from_pid(process::only(daemons)?)?;
        let pid = Some(target.pid());
        if found.replace(target.pid()) != pid && forks {
            return Ok(None);
        }
        let probes = || target.find_probe(RECV_UPCALL.provider, RECV_UPCALL.name);
        match source {
            None => {}
            Some(SourceArg::Usdt) => drop(probes()?),
            Some(SourceArg::Kernel) => drop(upcall_messages(args)?),
            Some(SourceArg::Auto) => {
                if let Err(error) = probes() {
                    if !has_kernel_btf() {
                        return Err(error);
                    }
                    // One that has just started maps the library with the probes a moment later.
                    if without_probes.replace(target.pid()) != pid {
                        return Ok(None);
                    }
                    upcall_messages(args)?;
                }
            }
        }
        Ok(Some(target))
    };
    let mut obstacle = String::new();
    let mut since = Instant::now();
    let (mut waiting, mut reported) = (false, false);
    loop {
        match next() {
            Ok(Some(target)) => return Ok(Some(target)),
            Ok(None) => {}
            Err(trace::Error::NotFound) => {
                obstacle.clear();
                if !waiting {
                    waiting = true;
                    note("waiting for the next ovs-vswitchd");
                }
            }
            // A daemon that is about to exit, or to start its child, is an obstacle only for a moment.
            Err(error) if error.to_string() == obstacle => {
                if !reported && since.elapsed() >= FOLLOW_PATIENCE {
                    reported = true;
                    note(format_args!("warning: still waiting: {obstacle}"));
                }
            }
            Err(error) => {
                obstacle = error.to_string();
                since = Instant::now();
                reported = false;
            }
        }
        if until.sleep(FOLLOW_INTERVAL)?.is_some() {
            return Ok(None);
        }
    }
}
