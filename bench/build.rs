//! Tells the bench how it was built: its reports say so.

use std::{env, path::Path, process::Command};

/// Set by `.cargo/lto.toml`.
const LINKER_LTO: &str = "TIDEGATE_LINKER_LTO";
/// What, changed, changes what is measured.
const SOURCES: [&str; 4] = ["src", "../fastpath", "../ffi", "../Cargo.lock"];

fn main() {
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let flags: Vec<&str> = flags.split('\x1f').collect();
    let cpu: Vec<&str> = flags
        .iter()
        .filter_map(|flag| flag.strip_prefix("-Ctarget-cpu=").or(flag.strip_prefix("-Ctarget-feature=")))
        .collect();
    let lto = env::var(LINKER_LTO).unwrap_or_else(|_| "no".to_owned());
    let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let told = |name: &str, value: &str| println!("cargo:rustc-env=TIDEGATE_{name}={value}");
    told("CPU", &cpu.join(" "));
    told("LTO", &lto);
    told("RUSTC", output(&rustc, &["-V"]).as_deref().unwrap_or("unknown"));
    told("REVISION", &revision());
    SOURCES.iter().for_each(|path| println!("cargo:rerun-if-changed={path}"));
    for name in ["CARGO_ENCODED_RUSTFLAGS", LINKER_LTO] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    // Changes with every commit and checkout.
    if let Some(log) = output("git", &["rev-parse", "--git-path", "logs/HEAD"])
        && Path::new(&log).exists()
    {
        println!("cargo:rerun-if-changed={log}");
    }
}

fn revision() -> String {
    let Some(commit) = output("git", &["rev-parse", "--short=12", "HEAD"]) else {
        return "unknown".to_owned();
    };
    let mut args = vec!["status", "--porcelain", "--"];
    args.extend(SOURCES);
    match output("git", &args) {
        None => commit,
        Some(_) => format!("{commit}-dirty"),
    }
}

/// What a program prints, if it succeeds and prints something.
fn output(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}
