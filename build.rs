//! Compiles the BPF programs in `bpf/` and makes their Rust bindings; links libpcap.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use libbpf_cargo::SkeletonBuilder;

/// The tools that have a BPF program, `bpf/NAME.bpf.c`.
const TOOLS: [&str; 4] = ["bridge_loop", "dpif_ops", "upcall_cost", "upcall_monitor"];

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let arch = match env::var("CARGO_CFG_TARGET_ARCH").as_deref() {
        Ok("x86_64") => "x86",
        Ok("aarch64") => "arm64",
        other => panic!("the tracers support x86_64 and aarch64, not {other:?}"),
    };
    let sources = env::current_dir().expect("cargo runs this in the package's folder");
    for tool in TOOLS {
        SkeletonBuilder::new()
            .source(format!("bpf/{tool}.bpf.c"))
            .clang_args([
                "-Wall".to_string(),
                "-Werror".to_string(),
                // Lengths stay in 64-bit registers, where clang cannot hide a bound from the verifier behind a
                // zero-extended copy; newer compilers take v3 for granted.
                "-mcpu=v2".to_string(),
                format!("-D__TARGET_ARCH_{arch}"),
                // The line information names the sources; the same bytes must come of them in every folder.
                format!("-fdebug-prefix-map={}=.", sources.display()),
            ])
            .reference_obj(true)
            .build_and_generate(out.join(format!("{tool}.skel.rs")))
            .unwrap_or_else(|error| {
                // Display with causes: a backtrace of this script helps nobody.
                println!(
                    "cargo::error=failed to build bpf/{tool}.bpf.c (it needs clang): {error:#}"
                );
                std::process::exit(1);
            });
    }
    println!("cargo::rerun-if-changed=bpf");
    // See src/trace/kernel.rs.
    println!("cargo::rustc-link-arg=-Wl,--wrap=btf__load_vmlinux_btf");
    println!("cargo::rustc-link-arg=-Wl,--wrap=bpf_btf_get_next_id");
    if env::var_os("CARGO_FEATURE_PACKET_FILTERS").is_some()
        && let Err(error) = link_libpcap(&out)
    {
        for line in error.lines() {
            println!("cargo::error={line}");
        }
        std::process::exit(1);
    }
}

/// How a build does without libpcap.
const WITHOUT: &str = "leave packet filters out: --no-default-features";

/// Links libpcap, statically where there is a libpcap.a.
fn link_libpcap(out: &Path) -> Result<(), String> {
    let folder = pkg_config::get_variable("libpcap", "libdir").map_err(|error| {
        format!(
            "packet filters need libpcap, which pkg-config does not find: {}\n\
             install pkg-config and libpcap-dev (Debian, Ubuntu, Alpine) or libpcap-devel (Fedora), or {WITHOUT}",
            one_line(&error)
        )
    })?;
    let archive = Path::new(&folder).join("libpcap.a");
    if archive.exists() {
        return static_libpcap(&archive, out);
    }
    let features = env::var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default();
    if features.split(',').any(|feature| feature == "crt-static") {
        return Err(format!(
            "there is no {}, which a binary that is linked statically needs for packet filters; Fedora has none\n\
             {WITHOUT}, or link libc and libpcap dynamically: RUSTFLAGS=-Ctarget-feature=-crt-static",
            archive.display()
        ));
    }
    // This prints what cargo has to know.
    pkg_config::probe_library("libpcap")
        .map(drop)
        .map_err(|error| format!("failed to link libpcap: {}", one_line(&error)))
}

/// An error of pkg-config, whose text has many lines.
fn one_line(error: &pkg_config::Error) -> String {
    let text = error.to_string();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Links libpcap without the libraries by which it captures from D-Bus and InfiniBand: distributions have them as shared
/// libraries only. Its compiler of filters is all that is used, and the modules that call them are in the same archive,
/// in a table of all modules. In the copy made here, what they call need not exist.
fn static_libpcap(archive: &Path, out: &Path) -> Result<(), String> {
    let status = Command::new("objcopy")
        .arg("--wildcard")
        .args(["--weaken-symbol=dbus_*", "--weaken-symbol=ibv_*"])
        .arg(archive)
        .arg(out.join("libpcap.a"))
        .status()
        .map_err(|error| format!("failed to run objcopy, which is in binutils: {error}"))?;
    if !status.success() {
        return Err(format!("objcopy of {} failed", archive.display()));
    }
    println!("cargo::rerun-if-changed={}", archive.display());
    println!("cargo::rustc-link-search=native={}", out.display());
    println!("cargo::rustc-link-lib=static=pcap");
    Ok(())
}
