//! What commands print: tables for people, the canonical JSON mapping for programs.

use std::io::{self, IsTerminal as _, Write as _};

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets::NOTHING};
use prost::{Message, Name};
use serde_json::Value;
use signalbox_proto::convert::json;

use crate::CliError;

/// Form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned columns.
    Table,
    /// The API's messages, in protobuf's canonical JSON mapping.
    Json,
}

/// Standard output in one form.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    format: Format,
}

impl Output {
    /// In this form.
    #[must_use]
    pub fn new(format: Format) -> Self {
        Self { format }
    }

    /// Whether what people read may have colours: on a terminal, unless <https://no-color.org> says no.
    #[must_use]
    pub fn has_colour(&self) -> bool {
        let is_wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        !self.is_json() && is_wanted && io::stdout().is_terminal()
    }

    /// Whether JSON was asked for.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// A line for people; nothing when JSON was asked for.
    ///
    /// # Errors
    /// When standard output is closed.
    pub fn line(&self, text: &str) -> Result<(), CliError> {
        if self.is_json() {
            return Ok(());
        }
        self.raw(&format!("{text}\n"))
    }

    /// Text as it is, in every form.
    ///
    /// # Errors
    /// When standard output is closed.
    pub fn raw(&self, text: &str) -> Result<(), CliError> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        stdout.flush()?;
        Ok(())
    }

    /// A message: JSON, or what `shown` says of it.
    ///
    /// # Errors
    /// When standard output is closed.
    pub fn message<M: Message + Name>(
        &self,
        message: &M,
        shown: impl FnOnce(&M) -> String,
    ) -> Result<(), CliError> {
        if self.is_json() {
            return self.raw(&format!("{}\n", json::to_string_pretty(message)));
        }
        let text = shown(message);
        let end = if text.is_empty() || text.ends_with('\n') {
            ""
        } else {
            "\n"
        };
        self.raw(&format!("{text}{end}"))
    }

    /// Messages as a table, or as a JSON array.
    ///
    /// # Errors
    /// When standard output is closed.
    pub fn list<M: Message + Name, const N: usize>(
        &self,
        messages: &[M],
        header: [&str; N],
        row: impl Fn(&M) -> [String; N],
    ) -> Result<(), CliError> {
        if self.is_json() {
            let values: Vec<Value> = messages.iter().map(json::to_value).collect();
            return self.raw(&format!("{:#}\n", Value::Array(values)));
        }
        self.raw(&format!("{}\n", table(header, messages.iter().map(row))))
    }
}

/// Aligned columns without borders.
pub(crate) fn table<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table
        .load_style(NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header);
    for row in rows {
        table.add_row(row);
    }
    let text = table.to_string();
    text.lines()
        .map(|line| line.trim().to_owned())
        .collect::<Vec<_>>()
        .join("\n")
}

/// The last segment of a resource name.
pub(crate) fn short(name: &str) -> String {
    name.rsplit('/').next().unwrap_or_default().to_owned()
}

/// A time in UTC to the second.
pub(crate) fn time(at: Option<&prost_types::Timestamp>) -> String {
    at.and_then(|at| jiff::Timestamp::new(at.seconds, 0).ok())
        .map(|at| at.to_string())
        .unwrap_or_default()
}

/// An enum's value without its prefix.
pub(crate) fn value(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_owned()
}
