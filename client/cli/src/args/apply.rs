//! `apply` and `export`.

use std::{collections::BTreeMap, path::PathBuf, str::FromStr};

use clap::Args;
use signalbox_model::labels::{self, LabelSelector};

const APPLY_HELP: &str = "\
Files are YAML or JSON, with one document or several, each with kind (Workflow or ApiKey), name, labels, displayName and spec;
`signalbox export` writes such files. Secrets are in none: those that workflows name must exist. A workflow's spec is published;
whether it is enabled, and a key's value, stay as they are. A new key's value is shown by `signalbox keys reveal`.

Exit codes beside those of every command: with --dry-run 2 when there is something to do, 0 when there is not.";

/// `apply`.
#[derive(Debug, Args)]
#[command(after_long_help = APPLY_HELP)]
pub struct ApplyArgs {
    /// A file; '-' reads standard input; of a folder, every .yaml, .yml and .json below it. May be given repeatedly.
    #[arg(long = "file", short, required = true)]
    pub files: Vec<PathBuf>,
    /// Show what would be done, and do nothing. Ends with 2 when there is something to do.
    #[arg(long)]
    pub dry_run: bool,
    /// Delete the keys and workflows with the labels of --selector that are not in the files.
    #[arg(long, requires = "selector")]
    pub prune: bool,
    /// Labels of what --prune may delete, name=value; every document must have them. Several: by commas, or repeatedly.
    #[arg(long, short = 'l', value_delimiter = ',', requires = "prune")]
    pub selector: Vec<LabelArg>,
}

/// `export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Which: workflows/ID, apiKeys/ID, or full resource names; all of --project when not given. Of all, revoked keys are left
    /// out. A workflow that has no published version is written as its latest: apply would publish it.
    #[arg(conflicts_with = "selector")]
    pub names: Vec<String>,
    /// Only those with these labels, name=value. Several: by commas, or repeatedly.
    #[arg(long, short = 'l', value_delimiter = ',')]
    pub selector: Vec<LabelArg>,
    /// Write a file for each into this folder instead of standard output.
    #[arg(long)]
    pub dir: Option<PathBuf>,
}

/// `name=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelArg {
    name: String,
    value: String,
}

impl FromStr for LabelArg {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text
            .split_once('=')
            .ok_or("expected a label such as team=desk")?;
        if !labels::is_name(name) {
            return Err(format!("{name:?} is no name of a label"));
        }
        Ok(Self {
            name: name.to_owned(),
            value: value.to_owned(),
        })
    }
}

/// All of them.
pub(crate) fn selector(labels: Vec<LabelArg>) -> LabelSelector {
    let labels = labels.into_iter();
    labels
        .map(|label| (label.name, label.value))
        .collect::<BTreeMap<_, _>>()
}
