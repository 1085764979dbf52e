//! Compiles the BPF programs in `bpf/` and makes their Rust bindings.

use std::env;
use std::path::PathBuf;

use libbpf_cargo::SkeletonBuilder;

/// The tools that have a BPF program, `bpf/NAME.bpf.c`.
const TOOLS: [&str; 3] = ["bridge_loop", "upcall_cost", "upcall_monitor"];

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let arch = match env::var("CARGO_CFG_TARGET_ARCH").as_deref() {
        Ok("x86_64") => "x86",
        Ok("aarch64") => "arm64",
        other => panic!("the tracers support x86_64 and aarch64, not {other:?}"),
    };
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
}
