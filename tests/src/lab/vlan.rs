//! 802.1Q tags on an interface, by a BPF program of traffic control.

use std::process::Command;

use anyhow::{Context, Result};

use super::{Netns, netns::output};

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/lab/vlan.bpf.c");

/// From now on every frame that leaves `interface` has this tag, and only frames with it come in, without it.
///
/// # Errors
/// What `clang` or `tc` said.
pub fn tag(netns: &Netns, interface: &str, vid: u16) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let object = dir.path().join("vlan.o");
    let clang =
        ["clang-22", "clang"].into_iter().find(|name| Command::new(name).arg("--version").output().is_ok());
    let mut compile = Command::new(clang.context("the lab needs clang for VLANs; run `make deps`")?);
    compile.args(["-O2", "-g", "-target", "bpf", "-c", PROGRAM, "-o"]).arg(&object);
    compile.arg(format!("-DVID={vid}")).arg(format!("-I/usr/include/{}-linux-gnu", std::env::consts::ARCH));
    output(&mut compile)?;
    netns.run(&format!("tc qdisc add dev {interface} clsact"))?;
    for (direction, section) in [("egress", "push"), ("ingress", "pop")] {
        let object = object.display();
        netns.run(&format!("tc filter add dev {interface} {direction} bpf da obj {object} sec {section}"))?;
    }
    Ok(())
}
