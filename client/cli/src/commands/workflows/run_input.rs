//! The input of `signalbox workflows run`.

use std::path::Path;

use serde_json::{Map, Value as Json};
use signalbox_client::Client;
use signalbox_model::{ids::WorkflowName, workflow::Inputs};
use signalbox_proto::{Value, convert::definition, v1};

use crate::{
    CliError,
    commands::{call, read_text},
};

/// What the arguments give: JSON, or words by the inputs that the workflow `name` declares.
pub(super) async fn read(
    client: &Client,
    name: &str,
    words: &[String],
    file: Option<&Path>,
) -> Result<Value, CliError> {
    let (what, text) = match (file, words) {
        (Some(file), _) => (file.display().to_string(), read_text(file)?),
        (None, []) => return Ok(definition::from_json(&Json::Null)),
        (None, [text]) if pair(text).is_none() => ("--input".to_owned(), text.clone()),
        (None, words) => {
            let inputs = declared(client, name).await?;
            return by_name(words, &inputs).map_err(|problems| wrong("--input", problems));
        }
    };
    let value = serde_json::from_str(&text)
        .map_err(|error| wrong(&what, vec![format!("is no JSON: {error}")]))?;
    exact(&value).map_err(|problem| wrong(&what, vec![problem]))?;
    Ok(definition::from_json(&value))
}

fn wrong(what: &str, problems: Vec<String>) -> CliError {
    CliError::Data {
        what: format!("{what} cannot be an input"),
        problems,
    }
}

fn exact(value: &Json) -> Result<(), String> {
    match definition::inexact_number(value) {
        Some(number) => Err(format!(
            "{number} is beyond ±2^53, where numbers lose digits; write it as text"
        )),
        None => Ok(()),
    }
}

/// `name=value`, which no JSON is.
fn pair(word: &str) -> Option<(&str, &str)> {
    let (name, value) = word.split_once('=')?;
    let mut bytes = name.bytes();
    let is_name = bytes
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_');
    is_name.then_some((name, value))
}

fn by_name(words: &[String], inputs: &Inputs) -> Result<Value, Vec<String>> {
    if inputs.is_empty() {
        let text = "the workflow's published version declares no inputs; give JSON instead";
        return Err(vec![text.to_owned()]);
    }
    let mut values = Map::new();
    let mut problems = Vec::new();
    for word in words {
        let Some((name, text)) = pair(word) else {
            problems.push(format!("{word:?} is not name=value"));
            continue;
        };
        let value = inputs.find(name).and_then(|input| input.kind.read(text));
        match value.and_then(|value| exact(&value).map(|()| value)) {
            Ok(value) => {
                if values.insert(name.to_owned(), value).is_some() {
                    problems.push(format!("{name}: is given twice"));
                }
            }
            Err(problem) => problems.push(format!("{name}: {problem}")),
        }
    }
    if problems.is_empty() {
        Ok(definition::from_json(&Json::Object(values)))
    } else {
        Err(problems)
    }
}

/// The inputs that the published version declares; of a workflow without one, the latest.
async fn declared(client: &Client, name: &str) -> Result<Inputs, CliError> {
    let request = v1::GetWorkflowRequest {
        name: name.to_owned(),
    };
    let workflow = call!(client, workflows.get_workflow(request));
    let spec = super::published_spec(client, &workflow).await?;
    let name: WorkflowName = name
        .parse()
        .map_err(|error| CliError::Usage(format!("{name}: {error}")))?;
    let spec = spec.unwrap_or_default();
    let valid = definition::stored(&spec, &name.project);
    let valid = valid.map_err(|violations| CliError::Data {
        what: format!("this signalbox cannot read the definition of {name}"),
        problems: violations.0.iter().map(ToString::to_string).collect(),
    })?;
    Ok(valid.inputs().clone())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn no_json_is_taken_for_a_pair() {
        assert_eq!(pair("name=a=b"), Some(("name", "a=b")));
        assert_eq!(pair("_n1="), Some(("_n1", "")));
        for json in [
            "null",
            "true",
            "1",
            "\"a=b\"",
            "{\"a\":\"=\"}",
            "[\"=\"]",
            "=",
            "1a=b",
        ] {
            assert_eq!(pair(json), None, "{json}");
        }
    }
}
