//! Bearer tokens of the REST API.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
};

use anyhow::{Context, Result, bail};
use clap::{Args, builder::PossibleValuesParser};

use crate::{config::Role, rest};

/// Random bytes of a token.
const BYTES: usize = 32;

/// Whose token.
#[derive(Debug, Args)]
pub(super) struct TokenArgs {
    /// Who has it: a word for the history and the audit log
    name: String,
    /// What it allows: `read` looks, `write` changes
    #[arg(long, value_name = "ROLE", value_parser = PossibleValuesParser::new(["read", "write"]))]
    role: String,
    /// The file of gateway.api.tokens
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
}

pub(super) fn token(args: &TokenArgs) -> Result<()> {
    let role = Role::of(&args.role).context("no such role")?;
    if args.name.is_empty() || args.name.contains(|c: char| c.is_whitespace() || c == '#') {
        bail!("`{}` is no name; give a word without spaces and #", args.name.escape_debug());
    }
    let mut random = [0; BYTES];
    File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut random)).context("/dev/urandom")?;
    let secret: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let file = File::options().create(true).append(true).mode(0o600).open(&args.file);
    let line = format!("{}\n", rest::line(&args.name, role, &secret));
    file.and_then(|mut file| file.write_all(line.as_bytes()))
        .with_context(|| format!("cannot write {}", args.file.display()))?;
    println!("{secret}");
    Ok(())
}
