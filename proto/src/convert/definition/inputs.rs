//! What a manual run takes.

use signalbox_model::{
    violation::Collector,
    workflow::{Input, Inputs},
};

use super::texts::json;
use crate::v1;

const FIELD: &str = "trigger.manual.inputs";

/// The inputs of a manual trigger; of others none.
pub(super) fn inputs_of(trigger: Option<&v1::Trigger>, problems: &mut Collector) -> Inputs {
    let Some(v1::Trigger {
        kind: Some(v1::trigger::Kind::Manual(v1::ManualTrigger { inputs })),
    }) = trigger
    else {
        return Inputs::default();
    };
    // All of them are looked at, also after one that is wrong.
    let inputs: Vec<Option<Input>> = inputs
        .iter()
        .enumerate()
        .map(|(index, input)| input_of(&format!("{FIELD}[{index}]"), input, problems))
        .collect();
    let inputs: Option<Vec<Input>> = inputs.into_iter().collect();
    match inputs.map(|inputs| Inputs::new(FIELD, inputs)) {
        Some(Ok(inputs)) => inputs,
        Some(Err(violations)) => {
            problems.extend(violations);
            Inputs::default()
        }
        None => Inputs::default(),
    }
}

fn input_of(field: &str, input: &v1::ManualInput, problems: &mut Collector) -> Option<Input> {
    let v1::ManualInput {
        name,
        r#type,
        required,
        default,
        description,
        values,
    } = input;
    let kind = problems.check(format!("{field}.type"), r#type.parse());
    let default = match default {
        Some(value) => json(&format!("{field}.default"), value, problems).map(Some),
        None => Some(None),
    };
    let values: Vec<_> = values
        .iter()
        .enumerate()
        .map(|(index, value)| json(&format!("{field}.values[{index}]"), value, problems))
        .collect();
    Some(Input {
        name: name.clone(),
        kind: kind?,
        required: *required,
        default: default?,
        description: description.clone(),
        values: values.into_iter().collect::<Option<_>>()?,
    })
}
