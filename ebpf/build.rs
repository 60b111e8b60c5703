//! Builds the XDP programs for `bpfel-unknown-none` and leaves their objects in `OUT_DIR`.
//!
//! The toolchain of the workspace cannot do it (its `core` for that target is not distributed), so one is looked for:
//! 1. a rustup nightly with the component `rust-src`, which builds `core` itself;
//! 2. Debian's rustc-web, which ships `core` for that target.
//!
//! Without either the build stops and says what to install.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

const TARGET: &str = "bpfel-unknown-none";
/// The gateway's program, and those of the bench.
const OBJECTS: [&str; 2] = ["ravelin-xdp", "ravelin-xdp-bench"];
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const CURE: &str = "scripts/toolchain installs what is missing on Debian 12 (as root); elsewhere: \
    rustup toolchain install nightly --component rust-src && cargo install bpf-linker";

fn main() {
    for path in [
        "build.rs",
        "src/abi.rs",
        "src/bench_abi.rs",
        "program/src",
        "program/Cargo.toml",
        "program/Cargo.lock",
    ] {
        println!("cargo::rerun-if-changed={path}");
    }
    println!("cargo::rerun-if-changed=../crates/wire/src");
    println!("cargo::rerun-if-changed=../crates/wire/Cargo.toml");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    // Beside the profiles' directories (target/<profile>/build/<package>/out): one build serves all of them.
    let target_dir = out.ancestors().nth(4).unwrap_or(&out).join("xdp");
    let Some(linker) = bpf_linker() else { fail("bpf-linker is not in PATH") };
    let Some(mut cargo) = nightly().or_else(debian) else {
        fail(
            "no Rust compiler for bpfel-unknown-none: neither a rustup nightly with rust-src nor Debian's rustc-web",
        )
    };
    cargo
        .args(["--release", "--locked", "--target", TARGET, "--manifest-path", "program/Cargo.toml"])
        .arg("--target-dir")
        .arg(&target_dir)
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", linker);
    match cargo.status() {
        Ok(s) if s.success() => {}
        Ok(s) => fail(&format!("the XDP program does not build ({s}): {cargo:?}")),
        Err(e) => fail(&format!("cannot start {cargo:?}: {e}")),
    }
    for name in OBJECTS {
        let object = target_dir.join(TARGET).join("release").join(name);
        if let Err(e) = fs::copy(&object, out.join(name)) {
            fail(&format!("cannot copy {}: {e}", object.display()));
        }
    }
}

/// `cargo build` by a rustup nightly that has the sources of `core`.
fn nightly() -> Option<Command> {
    let rustup = |args: &[&str]| bare("rustup").args(["run", "nightly"]).args(args).output().ok();
    let sysroot = rustup(&["rustc", "--print", "sysroot"]).filter(|o| o.status.success())?;
    let sysroot = PathBuf::from(String::from_utf8(sysroot.stdout).ok()?.trim());
    if !sysroot.join("lib/rustlib/src/rust/library/core/Cargo.toml").exists() {
        return None;
    }
    let mut cargo = bare("rustup");
    cargo.args(["run", "nightly", "cargo", "build", "-Z", "build-std=core"]);
    Some(cargo)
}

/// `cargo build` by whichever cargo runs this, with Debian's compiler. Its unstable features are opened for the one
/// crate that needs them.
fn debian() -> Option<Command> {
    if !Path::new(DEBIAN_RUSTC).exists() || !Path::new("/usr/lib/rustlib").join(TARGET).exists() {
        return None;
    }
    let mut cargo = bare(env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
    cargo.arg("build").env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "aya_ebpf");
    Some(cargo)
}

/// A command that inherits nothing meant for the build around this one (clippy's wrapper, flags, target directory).
fn bare(program: impl Into<std::ffi::OsString>) -> Command {
    let mut command = Command::new(program.into());
    for (name, _) in env::vars_os() {
        let n = name.to_string_lossy();
        let foreign = n.starts_with("CARGO_") && n != "CARGO_HOME" && !n.starts_with("CARGO_NET_");
        if foreign
            || n.starts_with("RUSTC")
            || matches!(&*n, "RUSTFLAGS" | "RUSTDOCFLAGS" | "RUSTUP_TOOLCHAIN")
        {
            command.env_remove(&name);
        }
    }
    command
}

fn bpf_linker() -> Option<PathBuf> {
    let home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|h| Path::new(&h).join(".cargo")));
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(home.map(|h| h.join("bin")))
        .map(|dir| dir.join("bpf-linker"))
        .find(|p| p.exists())
}

fn fail(why: &str) -> ! {
    println!("cargo::error={why}");
    println!("cargo::error={CURE}");
    std::process::exit(1);
}
