//! Compiles the BPF programs with clang. Without one the crate builds all the same, and the agent says what is missing when it
//! is started.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, exit},
};

/// Tried in this order, after what `CLANG` names.
const COMPILERS: [&str; 2] = ["clang-22", "clang"];

fn main() {
    for path in ["build.rs", "bpf/shortcut.bpf.c", "bpf/map.h", "bpf/helper.h"] {
        println!("cargo:rerun-if-changed={path}");
    }
    println!("cargo:rerun-if-env-changed=CLANG");
    println!("cargo:rustc-check-cfg=cfg(bpf_programs)");
    let named = env::var("CLANG").ok();
    let compilers = named.iter().map(String::as_str).chain(COMPILERS);
    let mut found = compilers.filter(|name| Command::new(name).arg("--version").output().is_ok());
    let Some(clang) = found.next() else {
        println!(
            "cargo::warning=no clang: tidegate-agent is built without its BPF programs (Debian: apt-get install clang)"
        );
        return;
    };
    let object = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("shortcut.bpf.o");
    if let Err(why) = compile(clang, &object) {
        println!("cargo::error={why}");
        exit(1);
    }
    println!("cargo:rustc-cfg=bpf_programs");
}

/// # Errors
/// What clang said.
fn compile(clang: &str, object: &Path) -> Result<(), String> {
    let arch = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    let mut command = Command::new(clang);
    // v3: 32-bit registers, which every kernel with ring buffers (5.8) knows.
    command.args(["-O2", "-g", "-Wall", "-Wextra", "-Werror", "-target", "bpf", "-mcpu=v3"]);
    command
        .arg(format!("-I/usr/include/{arch}-linux-gnu"))
        .args(["-c", "bpf/shortcut.bpf.c", "-o"])
        .arg(object);
    let out = command.output().map_err(|why| format!("{clang}: {why}"))?;
    if out.status.success() {
        Ok(())
    } else {
        Err(format!("{clang}: {}", String::from_utf8_lossy(&out.stderr)))
    }
}
