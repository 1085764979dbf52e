//! Tracing a running ovs-vswitchd.

use anyhow::bail;

use crate::args::Args;

pub fn run(_args: &Args) -> anyhow::Result<()> {
    bail!("this program cannot trace yet\nuse -r to analyse what was recorded")
}
