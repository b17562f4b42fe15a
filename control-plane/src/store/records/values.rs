//! Large inputs and outputs: what is recorded of them, and what is kept of them whole (`docs/decisions/0025-history.md`).

use std::collections::HashMap;

use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _};
use serde_json::json;
use signalbox_model::{error::Error, execution::ExecutionState, ids::ExecutionName};

use super::fold::History;
use crate::store::{
    Tx,
    awaited::WAIT_THEMSELVES,
    entity::whole_value::{Column, Entity, Model as WholeValue},
    internal,
    rows::StepRun,
};

const INPUT: &str = "input";
const OUTPUT: &str = "output";

/// What becomes of the whole values of an execution.
#[derive(Debug, Default)]
pub(super) struct Wholes {
    /// They are to be kept.
    pub(super) new: Vec<WholeValue>,
    /// Those that the database has are not needed any more.
    pub(super) are_done: bool,
}

/// Shortens what has changed and is larger than `max_bytes`. The wholes of it are kept until the execution has succeeded: a
/// retry from where it failed reads them.
pub(super) fn shorten(history: &mut History, max_bytes: usize) -> Wholes {
    let mut wholes = Wholes::default();
    for step in history.steps.values_mut().filter(|step| step.is_changed) {
        shorten_step(&mut step.row, max_bytes, &mut wholes.new);
    }
    if history.execution.is_changed {
        let row = &mut history.execution.row;
        if let Some(output) = &mut row.output_json {
            shorten_value(output, &mut row.output_truncated_bytes, max_bytes);
        }
    }
    if history.execution.row.state == ExecutionState::Succeeded.as_str() {
        wholes.new.clear();
        if history.execution.row.has_whole_values {
            history.execution.change().has_whole_values = false;
            wholes.are_done = true;
        }
    } else if !wholes.new.is_empty() {
        history.execution.change().has_whole_values = true;
    }
    wholes
}

fn shorten_step(row: &mut StepRun, max_bytes: usize, wholes: &mut Vec<WholeValue>) {
    let mut keep = |part: &str, json: Option<String>| {
        wholes.extend(json.map(|json| WholeValue {
            project: row.project.clone(),
            execution: row.execution.clone(),
            step: row.step.clone(),
            part: part.to_owned(),
            json,
        }));
    };
    // Whoever signals, approves and cancels reads what these wait for. They are small.
    if !WAIT_THEMSELVES.contains(&row.kind.as_str()) {
        let whole = shorten_value(
            &mut row.input_json,
            &mut row.input_truncated_bytes,
            max_bytes,
        );
        keep(INPUT, whole);
    }
    if let Some(output) = &mut row.output_json {
        let whole = shorten_value(output, &mut row.output_truncated_bytes, max_bytes);
        keep(OUTPUT, whole);
    }
}

/// Puts the beginning of a value that is too large in its place; gives the whole of it.
fn shorten_value(
    json: &mut String,
    truncated_bytes: &mut Option<i64>,
    max_bytes: usize,
) -> Option<String> {
    if json.len() <= max_bytes || truncated_bytes.is_some() {
        return None;
    }
    *truncated_bytes = Some(i64::try_from(json.len()).unwrap_or(i64::MAX));
    let short = shortened(json, max_bytes);
    Some(std::mem::replace(json, short))
}

/// JSON of at most `max_bytes` that says how large `json` is, and how it begins.
fn shortened(json: &str, max_bytes: usize) -> String {
    let with =
        |start: &str| json!({"truncated": {"bytes": json.len(), "start": start}}).to_string();
    let room_bytes = max_bytes.saturating_sub(with("").len());
    let mut used_bytes = 0;
    let end = json.char_indices().find(|(_, c)| {
        used_bytes += written_bytes(*c);
        used_bytes > room_bytes
    });
    let end = end.map_or(json.len(), |(at, _)| at);
    with(json.get(..end).unwrap_or_default())
}

/// Bytes of a character in a JSON string (RFC 8259 §7).
fn written_bytes(c: char) -> usize {
    match c {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        '\0'..='\u{1f}' => 6,
        c => c.len_utf8(),
    }
}

impl Tx {
    /// Puts the whole values back into the rows of an execution's steps.
    ///
    /// # Errors
    /// When the database fails, or does not have one of them.
    pub(in crate::store) async fn make_whole(
        &self,
        name: &ExecutionName,
        rows: &mut [StepRun],
    ) -> Result<(), Error> {
        let is_short = |row: &StepRun| {
            row.input_truncated_bytes.is_some() || row.output_truncated_bytes.is_some()
        };
        if !rows.iter().any(is_short) {
            return Ok(());
        }
        let wholes = Entity::find()
            .filter(Column::Project.eq(name.project.as_str()))
            .filter(Column::Execution.eq(name.execution.as_str()))
            .all(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        let mut wholes: HashMap<(String, String), String> = wholes
            .into_iter()
            .map(|whole| ((whole.step, whole.part), whole.json))
            .collect();
        let mut take = |step: &str, part: &str| {
            let key = (step.to_owned(), part.to_owned());
            wholes.remove(&key).ok_or_else(|| Error::Internal {
                message: format!("the whole {part} of step {step} of {name} is not kept"),
            })
        };
        for row in rows {
            if row.input_truncated_bytes.take().is_some() {
                row.input_json = take(&row.step, INPUT)?;
            }
            if row.output_truncated_bytes.take().is_some() {
                row.output_json = Some(take(&row.step, OUTPUT)?);
            }
        }
        Ok(())
    }

    /// Deletes what is kept whole of an execution's values.
    pub(super) async fn delete_whole_values(&self, name: &ExecutionName) -> Result<(), Error> {
        Entity::delete_many()
            .filter(Column::Project.eq(name.project.as_str()))
            .filter(Column::Execution.eq(name.execution.as_str()))
            .exec(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use serde_json::Value;

    use super::*;

    #[test]
    fn what_is_shortened_is_json_of_the_size_that_begins_as_the_whole_does() {
        let texts = [
            "x".repeat(5_000),
            "\"\\\n\t\u{1}".repeat(1_000),
            "é€𝄞".repeat(1_000),
            format!("{}𝄞", "a".repeat(4_000)),
        ];
        for text in texts {
            let json = Value::from(text).to_string();
            for max_bytes in 1_024..1_100 {
                let short = shortened(&json, max_bytes);
                assert!(short.len() <= max_bytes, "{max_bytes}: {}", short.len());
                assert!(short.len() + 6 > max_bytes, "{max_bytes}: {}", short.len());
                let value: Value = serde_json::from_str(&short).unwrap();
                let truncated = &value["truncated"];
                assert_eq!(truncated["bytes"], json.len());
                assert!(json.starts_with(truncated["start"].as_str().unwrap()));
            }
        }
    }

    #[test]
    fn what_is_small_stays_and_what_is_short_is_not_shortened_again() {
        let value = |len: usize| Value::from("y".repeat(len - 2)).to_string();
        let mut json = value(2_000);
        let mut truncated_bytes = None;
        assert_eq!(shorten_value(&mut json, &mut truncated_bytes, 2_000), None);
        assert_eq!((json.as_str(), truncated_bytes), (&*value(2_000), None));
        let whole = shorten_value(&mut json, &mut truncated_bytes, 1_999);
        assert_eq!((whole, truncated_bytes), (Some(value(2_000)), Some(2_000)));
        let before = json.clone();
        assert_eq!(shorten_value(&mut json, &mut truncated_bytes, 1_024), None);
        assert_eq!((json, truncated_bytes), (before, Some(2_000)));
    }
}
