//! The command line. Nothing here looks at the machine.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Parser;
use ovs_tracers::cli::options::{Daemon, Format};

/// List the USDT probes of a file or of a running process
///
/// Without -l or -p these are the probes of the running ovs-vswitchd: of its program, and of every library that it has
/// mapped.
#[derive(Debug, Parser)]
#[command(
    name = "usdt-probes",
    version,
    max_term_width = 100,
    mut_arg("pid", |arg| {
        arg.help("List the probes of all that this process has mapped [default: the only ovs-vswitchd that is running]")
    }),
    after_help = "\
Examples:
  usdt-probes                                 the probes of the running ovs-vswitchd
  usdt-probes -p PID -v 'dpif_recv:*'         every site, its arguments, its bytes, and who has it attached
  usdt-probes -l /usr/sbin/ovs-vswitchd       ... of a file; needs no privilege
  usdt-probes -l FILE --format json | jq .    for programs to read
  usdt-probes --check                         which of the tracers can run here, and what the others lack"
)]
pub struct Args {
    /// List only the probes that match; * stands for any text, as in 'dpif_recv:*'
    #[arg(value_name = "PROVIDER:NAME")]
    pub pattern: Option<Pattern>,

    /// List the probes of a file: a program, a library, an object or an archive of any machine, or a debug file
    #[arg(short, long, value_name = "PATH", conflicts_with_all = ["pid", "check"])]
    pub list: Option<PathBuf>,

    #[command(flatten)]
    pub daemon: Daemon,

    /// Show each site of a probe: address, file offset, semaphore, arguments, bytes, who has it attached
    #[arg(short, long)]
    pub verbose: bool,

    /// Form of the standard output
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: Format,

    /// Say which of the tracers can run on the process and this kernel, and what the others lack
    #[arg(long, conflicts_with_all = ["verbose", "pattern"])]
    pub check: bool,
}

/// Provider and name of a probe, each with `*` for any text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    provider: String,
    name: String,
}

impl Pattern {
    pub fn matches(&self, provider: &str, name: &str) -> bool {
        is_like(&self.provider, provider) && is_like(&self.name, name)
    }
}

impl FromStr for Pattern {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (provider, name) = text
            .split_once(':')
            .ok_or("it has no colon; write '*:name' for a name of any provider")?;
        Ok(Self {
            provider: provider.into(),
            name: name.into(),
        })
    }
}

/// Whether `text` is `pattern` with something in place of each `*`.
fn is_like(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        match text.split_once(part) {
            Some((_, after)) => text = after,
            None => return false,
        }
    }
    text.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check that * stands for any text, also none, at any place, and that nothing else is special.
    #[test]
    fn patterns() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "recv_upcall", true),
            ("recv_*", "recv_upcall", true),
            ("recv_*", "recv_", true),
            ("recv_*", "recv", false),
            ("*upcall", "recv_upcall", true),
            ("*upcall", "recv_upcalls", false),
            ("r*_*l", "recv_upcall", true),
            ("op_*_*t", "op_flow_put", true),
            ("op_*_*t", "op_flow_del", false),
            ("a*a", "a", false),
            ("a*ab*b", "aab", false),
            ("a*ab*b", "aabb", true),
            ("**", "x", true),
            ("[a-z]?", "ab", false),
            ("*é", "xé", true),
        ] {
            assert_eq!(is_like(pattern, text), expected, "{pattern} {text}");
        }
        let pattern: Pattern = "dpif_recv:*".parse().unwrap();
        assert!(pattern.matches("dpif_recv", "recv_upcall"));
        assert!(!pattern.matches("dpif_recv2", "recv_upcall"));
        assert!("recv_upcall".parse::<Pattern>().is_err());
    }
}
