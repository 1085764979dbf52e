//! Links the targets as the package links its tools: see `build.rs` of the folder above.

fn main() {
    println!("cargo::rustc-link-arg=-Wl,--wrap=btf__load_vmlinux_btf");
}
