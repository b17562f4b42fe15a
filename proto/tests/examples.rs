//! What the documentation shows is valid.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{fs, path::Path};

use signalbox_model::ids::ProjectId;
use signalbox_proto::{
    convert::{definition, yaml},
    v1,
};

fn check(what: &str, spec: &v1::WorkflowSpec) {
    if let Err(violations) = definition::workflow(spec, &ProjectId::default_project()) {
        panic!("{what}: {violations}");
    }
}

#[test]
fn the_examples_are_workflows() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples");
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let document = yaml::read::<v1::Workflow>(&text);
        let document = document.unwrap_or_else(|wrong| panic!("{}: {wrong:?}", path.display()));
        check(&path.display().to_string(), &document.message.spec.unwrap());
        count += 1;
    }
    assert!(count >= 2);
}

/// The steps that the guide shows, each block within a workflow that has what they read.
#[test]
fn the_guide_shows_steps_that_are_valid() {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/workflows.md");
    let guide = fs::read_to_string(guide).unwrap();
    let mut count = 0;
    for block in guide.split("```yaml\n").skip(1) {
        let block = block.split("```").next().unwrap();
        if !block.starts_with("    - ") {
            continue;
        }
        let vars = "vars: {desk: 'https://d', pager: 'https://p', billing: 'https://b', shop: 'https://s', token: t, ca: c, slackToken: x, slackWebhook: 'https://h'}";
        let text =
            format!("name: w\nspec:\n  trigger: {{manual: {{}}}}\n  {vars}\n  steps:\n{block}");
        let document = yaml::read::<v1::Workflow>(&text);
        let document = document.unwrap_or_else(|wrong| panic!("{block}: {wrong:?}"));
        check(block, &document.message.spec.unwrap());
        count += 1;
    }
    assert!(count >= 3, "{count}");
}
