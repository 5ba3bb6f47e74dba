//! No call into DPDK's C shim is left in the release binary: the linker inlined DPDK's burst functions (docs/adr/0009). Looks
//! at the disassembly and the symbols of the binary that `TIDEGATE_LTO` names; without it, says so and passes. `make
//! check-inline` names it.

use std::{collections::BTreeMap, env, process::Command};

use anyhow::{Context, Result, bail, ensure};

/// What every shim function's name begins with (`ffi/src/shim.h`).
const SHIM: &str = "tg_shim_";
/// What `rte_eth_rx_burst` and `rte_eth_tx_burst` read: a binary that has it holds their bodies.
const EVIDENCE: &str = "rte_eth_fp_ops";

#[test]
fn the_release_binary_does_not_call_the_shim() -> Result<()> {
    let Ok(path) = env::var("TIDEGATE_LTO") else {
        eprintln!("not looked at: TIDEGATE_LTO names no binary; `make check-inline` does");
        return Ok(());
    };
    let symbols = objdump(&["--syms", &path])?;
    ensure!(
        symbols.lines().count() > 10,
        "{path} has no symbols, so calls cannot be told apart; do not strip it"
    );
    let dynamic = objdump(&["--dynamic-syms", &path])?;
    ensure!(dynamic.contains(EVIDENCE), "{path} does not receive or send through DPDK: no {EVIDENCE} in it");
    let left = uses(&objdump(&["--disassemble", "--no-show-raw-insn", &path])?);
    let list: String =
        left.iter().map(|(shim, users)| format!("\n  {shim} in {}", users.join(", "))).collect();
    ensure!(
        left.is_empty(),
        "{path} still has the shim; build with `make build` and clang of rustc's LLVM:{list}"
    );
    Ok(())
}

#[test]
fn calls_and_jumps_to_the_shim_are_found() {
    let text = "
0000000000001000 <worker::poll>:
1000:\tcall   2000 <tg_shim_eth_rx_burst>
1005:\tjmp    2010 <tg_shim_eth_tx_burst@plt>
100a:\tcall   3000 <rte_eth_dev_start@plt>

0000000000002000 <tg_shim_eth_rx_burst>:
2000:\tret
";
    let found = uses(text);
    assert_eq!(found["tg_shim_eth_rx_burst"], ["worker::poll"]);
    assert_eq!(found["tg_shim_eth_tx_burst"], ["worker::poll"]);
    assert_eq!(found.len(), 2);
    assert!(uses("1000:\tcall 3000 <rte_eth_dev_start@plt>").is_empty());
}

fn objdump(arguments: &[&str]) -> Result<String> {
    let mut missing = None;
    for program in ["objdump", "llvm-objdump-22", "llvm-objdump"] {
        match Command::new(program).args(arguments).output() {
            Ok(out) if out.status.success() => return Ok(String::from_utf8_lossy(&out.stdout).into_owned()),
            Ok(out) => bail!("{program}: {}", String::from_utf8_lossy(&out.stderr).trim()),
            Err(why) => missing = Some(why),
        }
    }
    Err(missing.map_or_else(|| anyhow::anyhow!("none was tried"), Into::into))
        .context("objdump (binutils) is missing")
}

/// Shim functions that are called or jumped to, and in which other functions. A body that nobody uses does no harm: the linker keeps
/// it where a crate without bitcode could have called it.
fn uses(disassembly: &str) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut function = "";
    for line in disassembly.lines() {
        if let Some(name) = line.strip_suffix(">:").and_then(|line| line.split_once(" <")) {
            function = name.1;
        }
        if let Some(at) = line.find(SHIM) {
            let name = line[at..].split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or(SHIM);
            if name == function {
                continue;
            }
            let users = found.entry(name.to_owned()).or_default();
            if !users.iter().any(|user| user == function) {
                users.push(function.to_owned());
            }
        }
    }
    found
}
