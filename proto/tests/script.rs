//! What `script` steps write, and what their problems read like.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use signalbox_model::{
    ids::ProjectId,
    limits,
    workflow::{Action, ScriptStep, Workflow},
};
use signalbox_proto::{
    convert::{definition, json},
    v1,
};

const WAT: &str = r#"(module (memory (export "memory") 2) (func (export "_start")))"#;
/// The same, with one page of memory, as binary in base64.
const MODULE: &str = "AGFzbQEAAAABBAFgAAADAgEABQMBAAEHEwIGbWVtb3J5AgAGX3N0YXJ0AAAKBAECAAs=";

fn read(step: &str) -> Result<Workflow, Vec<String>> {
    let text = format!("trigger: {{manual: {{}}}}\nvars: {{v: 1}}\nsteps:\n  - {step}\n");
    let spec: v1::WorkflowSpec =
        json::from_yaml_str(&text).unwrap_or_else(|error| panic!("{error}"));
    // It goes over the wire and comes back.
    let workflow = definition::decode(&definition::encode(&spec), &ProjectId::default_project());
    workflow.map_err(|wrong| wrong.0.iter().map(ToString::to_string).collect())
}

#[track_caller]
fn script(fields: &str) -> ScriptStep {
    let workflow = read(&format!("{{id: a, script: {{{fields}}}}}"));
    match &workflow.unwrap().steps()[0].action {
        Action::Script(step) => step.as_ref().clone(),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn refused(fields: &str, expected: &[&str]) {
    let found = read(&format!("{{id: a, script: {{{fields}}}}}")).unwrap_err();
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(
            found.starts_with(&format!("steps[0].{expected}")),
            "{found}"
        );
    }
}

#[test]
fn a_program_is_read_from_either_format() {
    let text = script(&format!("wat: '{WAT}'"));
    assert_eq!(text.fuel, limits::SCRIPT_FUEL_DEFAULT);
    assert_eq!(text.memory_max_bytes, limits::SCRIPT_MEMORY_DEFAULT_BYTES);
    assert_eq!(text.module.memory_min_bytes(), 131_072);
    let binary = script(&format!(
        "module: {MODULE}, fuel: 7, memoryMaxBytes: 65536, input: {{a: '${{{{ vars.v }}}}'}}"
    ));
    assert_eq!(binary.module.memory_min_bytes(), 65_536);
    assert_eq!((binary.fuel, binary.memory_max_bytes), (7, 65_536));
    assert_eq!(binary.input.expressions_at("x")[0].0, "x.a");
    // As a CLI of another version, or a client in another language, would send it.
    let line_breaks = format!("module: \"{}\"", MODULE.replace("AQ", "AQ\\\n      "));
    assert_eq!(script(&line_breaks).module, binary.module);
}

#[test]
fn a_module_may_be_large() {
    let data = "\\u{e9}x".repeat(100_000);
    let wat = format!(
        r#"(module (memory (export "memory") 6) (data (i32.const 0) "{data}") (func (export "_start")))"#
    );
    let module = signalbox_model::script::ScriptModule::from_text(&wat).unwrap();
    assert!(module.bytes().len() > 300_000);
    let spec = v1::WorkflowSpec {
        steps: vec![v1::Step {
            id: "a".to_owned(),
            action: Some(v1::step::Action::Script(v1::ScriptStep {
                program: Some(v1::script_step::Program::Module(module.bytes().clone())),
                ..v1::ScriptStep::default()
            })),
            ..v1::Step::default()
        }],
        ..v1::WorkflowSpec::default()
    };
    let text = json::to_string_pretty(&spec);
    assert_eq!(
        json::from_yaml_str::<v1::WorkflowSpec>(&text),
        Ok(spec.clone())
    );
    assert_eq!(json::from_json_str::<v1::WorkflowSpec>(&text), Ok(spec));
}

#[test]
fn problems_are_told_where_they_are() {
    for (fields, expected) in [
        (
            "",
            &["script: holds no program: expected module or wat"][..],
        ),
        ("module: ''", &["script.module: is no WebAssembly module"]),
        (
            "module: KG1vZHVsZSk=",
            &[
                "script.module: is no WebAssembly module: it does not begin with \\0asm; the text format goes into wat",
            ],
        ),
        (
            "module: AGFzbQ0AAQA=",
            &["script.module: is a component; expected a core module for WASI preview 1"],
        ),
        ("wat: '(modul)'", &["script.wat: is no WebAssembly text: "]),
        (
            "wat: '(module)'",
            &["script.wat: exports no function _start"],
        ),
        (
            "wat: '(module (import \"env\" \"now\" (func)))'",
            &["script.wat: imports env.now; there are only"],
        ),
        (
            "wat: '(module)', fuel: -1, memoryMaxBytes: 65535, input: '${{ evnt }}'",
            &[
                "script.wat: exports",
                "script.input: ",
                "script.fuel: is -1; expected 1 to 10000000000",
                "script.memoryMaxBytes: is 65535; expected 65536 to 134217728",
            ],
        ),
        (
            &format!("wat: '{WAT}', memoryMaxBytes: 65536"),
            &["script.memoryMaxBytes: is 65536, and the module begins with 131072 bytes of memory"],
        ),
        (
            &format!("wat: '{WAT}', input: '${{{{ steps.b.output }}}}'"),
            &["script.input: steps.b: there is no step \"b\""],
        ),
    ] {
        refused(fields, expected);
    }
}

#[test]
fn what_is_no_base64_is_told_with_its_place() {
    let text = "trigger: {manual: {}}\nsteps:\n  - id: a\n    script:\n      module: '%%%'\n";
    let error = json::from_yaml_str::<v1::WorkflowSpec>(text).unwrap_err();
    assert_eq!(error.line, Some(5), "{error}");
    assert!(error.to_string().contains("base64"), "{error}");
}
