//! `tidegate-bench compare` and `plot`: what is made of documents.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use tidegate_bench::{compare, document::Document, plot};

#[derive(Debug, Args)]
pub(super) struct Compare {
    /// The document of before.
    before: PathBuf,
    /// The document of after.
    after: PathBuf,
}

impl Compare {
    pub(super) fn run(&self) -> Result<()> {
        print!("{}", compare::compared(&Document::read(&self.before)?, &Document::read(&self.after)?));
        Ok(())
    }
}

#[derive(Debug, Args)]
pub(super) struct Plot {
    /// The document.
    document: PathBuf,
    /// Cycles of work against flows: the SVG file.
    #[arg(long, required_unless_present = "throughput")]
    cost: Option<PathBuf>,
    /// Million packets per second against workers: the SVG file.
    #[arg(long)]
    throughput: Option<PathBuf>,
}

impl Plot {
    pub(super) fn run(&self) -> Result<()> {
        let document = Document::read(&self.document)?;
        if let Some(to) = &self.cost {
            plot::cost(&document, to)?;
        }
        if let Some(to) = &self.throughput {
            plot::throughput(&document, to)?;
        }
        Ok(())
    }
}
