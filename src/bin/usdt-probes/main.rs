//! Lists USDT probes, and says which of the tracers can use them.

mod args;
mod attached;
mod check;
mod code;
mod listing;
mod manual;
mod show;

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use ovs_tracers::cli;
use ovs_tracers::cli::options::Format;
use ovs_tracers::run::output;
use ovs_tracers::show::escape::Escaped;
use ovs_tracers::show::message::note;
use ovs_tracers::trace::libbpf_log;
use ovs_tracers::trace::target::Target;

use args::Args;
use attached::Attachments;
use listing::Listing;

fn main() -> ExitCode {
    let args: Args = cli::parse(&manual::sections());
    match libbpf_log::with(false, || run(&args)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => match error.downcast_ref::<io::Error>() {
            // Whoever reads it has enough.
            Some(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
            _ => cli::exit(Err(error)),
        },
    }
}

/// Whether all that was asked for is there.
fn run(args: &Args) -> anyhow::Result<bool> {
    let mut out = output::stdout()?;
    if args.check {
        let report = check::check(args.daemon.pid)?;
        match args.format {
            Format::Text => report.text(&mut out)?,
            Format::Json => report.json(&mut out)?,
        }
        out.flush()?;
        return Ok(report.all_can_run());
    }

    let (mut listing, target) = match &args.list {
        Some(path) => (Listing::of_file(path)?, None),
        None => {
            let target = Target::find(args.daemon.pid)?;
            (Listing::of_process(&target)?, Some(target))
        }
    };
    for warning in &listing.warnings {
        // It names files that a process has mapped.
        note(format_args!("warning: {}", Escaped::text(warning)));
    }
    listing.keep(args.pattern.as_ref())?;
    for obstacle in listing.obstacles() {
        note(format_args!("warning: {}", Escaped::text(&obstacle)));
    }
    let detailed = args.verbose || args.format == Format::Json;
    let attachments = if detailed {
        Attachments::query()
    } else {
        Attachments::default()
    };
    if !attachments.unknown.is_empty() {
        let unknown = attachments.unknown.join(" and of ");
        note(format_args!(
            "warning: others may have a site attached: nothing is known of {unknown}"
        ));
    }
    let probes = listing.probes(&attachments);
    if let Some(gone) = Target::gone(target.as_slice()) {
        return Err(gone.into());
    }
    match args.format {
        Format::Json => show::json(&mut out, &probes, &attachments)?,
        Format::Text if args.verbose => show::sites(&mut out, &probes, &attachments)?,
        Format::Text => show::table(&mut out, &probes)?,
    }
    out.flush()?;
    Ok(true)
}
