//! The published JSON Schema: that it is what the generator gives, and that it takes what the reader takes.
//!
//! `SIGNALBOX_BLESS=1 cargo test -p signalbox-proto --test schema` writes it anew.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{fs, path::Path};

use jsonschema::Validator;
use serde_json::Value;
use signalbox_model::ids::{ProjectId, WorkflowName};
use signalbox_proto::{
    convert::{definition, schema, yaml},
    v1,
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn validator() -> Validator {
    jsonschema::draft202012::new(&schema::workflow()).unwrap()
}

/// What the schema says of a file.
fn schema_takes(validator: &Validator, text: &str) -> Result<(), String> {
    let document: Value = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    let problems: Vec<_> = validator
        .iter_errors(&document)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    if problems.is_empty() {
        Ok(())
    } else {
        Err(problems.join("; "))
    }
}

/// What the reader says of it, as `signalbox workflows validate` has it.
fn reader_takes(text: &str) -> Result<(), String> {
    let document = yaml::read::<v1::Workflow>(text).map_err(|errors| errors.to_string())?;
    let workflow = document.message;
    if workflow.name.is_empty() {
        return Err("name is missing".to_owned());
    }
    let name = match workflow.name.contains('/') {
        true => workflow.name.clone(),
        false => format!("projects/p/workflows/{}", workflow.name),
    };
    name.parse::<WorkflowName>()
        .map_err(|error| error.to_string())?;
    let spec = workflow.spec.ok_or("spec is missing")?;
    definition::workflow(&spec, &ProjectId::default_project())
        .map(|_| ())
        .map_err(|violations| violations.to_string())
}

#[test]
fn the_published_schema_is_current() {
    let file = root().join("schema/workflow.schema.json");
    let fresh = schema::workflow();
    if std::env::var_os("SIGNALBOX_BLESS").is_some() {
        fs::write(&file, format!("{fresh:#}\n")).unwrap();
    }
    let published: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    assert!(
        published == fresh,
        "it is stale: run SIGNALBOX_BLESS=1 cargo test -p signalbox-proto --test schema"
    );
}

#[test]
fn it_is_a_schema_and_says_what_the_comments_say() {
    let schema = schema::workflow();
    assert!(jsonschema::draft202012::meta::is_valid(&schema));
    let at = |path: &str| {
        schema
            .pointer(path)
            .unwrap_or_else(|| panic!("{path}"))
            .clone()
    };
    let step = at("/$defs/Step");
    assert_eq!(step["description"], "One node of the graph.");
    assert_eq!(
        step["properties"]["http"]["description"],
        "Sends an HTTP request."
    );
    assert_eq!(step["additionalProperties"], false);
    let described = |of: &Value| {
        of["description"]
            .as_str()
            .is_some_and(|text| text.len() > 3)
    };
    for (name, message) in schema["$defs"].as_object().unwrap() {
        assert!(described(message), "{name}");
        for (field, schema) in message["properties"].as_object().unwrap() {
            assert!(described(schema), "{name}.{field}");
        }
    }
    assert_eq!(at("/$defs/Workflow/properties/etag/readOnly"), true);
}

#[test]
fn the_examples_are_valid() {
    let validator = validator();
    let mut count = 0;
    for entry in fs::read_dir(root().join("../docs/examples")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        if let Err(problem) = schema_takes(&validator, &text) {
            panic!("{}: {problem}", path.display());
        }
        count += 1;
    }
    assert!(count >= 2);
}

/// A workflow with these steps.
fn with_steps(steps: &str) -> String {
    format!("name: w\nspec:\n  trigger: {{manual: {{}}}}\n  vars: {{a: 1}}\n  steps: {steps}\n")
}

/// A workflow with this trigger.
fn with_trigger(trigger: &str) -> String {
    format!("name: w\nspec:\n  trigger: {trigger}\n  steps: [{{id: a, succeed: {{}}}}]\n")
}

/// A workflow that this is added to.
fn with(more: &str) -> String {
    format!(
        "{more}\nname: w\nspec: {{trigger: {{manual: {{}}}}, steps: [{{id: a, succeed: {{}}}}]}}\n"
    )
}

#[test]
fn schema_and_reader_take_the_same() {
    let validator = validator();
    let http = |more: &str| with_steps(&format!("[{{id: a, http: {{url: 'https://x', {more}}}}}]"));
    for text in [
        with(""),
        with("displayName: D\ndescription: d\netag: x\nlatestVersion: '3'"),
        with("display_name: D\nlatest_version: 3\nstate: WORKFLOW_STATE_ENABLED\ncreateTime: '2026-11-24T10:00:00Z'"),
        with("state: 1\ndescription: 5\ndisplayName:"),
        with("").replace("name: w", "name: projects/p-1/workflows/w-2"),
        with_trigger("{amazonSns: {apiKeys: [a], topicArns: [], filterPolicy: {a: [1, null, {exists: true}]}, filterPolicyScope: FILTER_POLICY_SCOPE_MESSAGE_BODY}}"),
        with_trigger("{amazon_sns: {api_keys: [a], max_message_age: 3600s, allow_raw_delivery: true, minimum_signature_version: '2'}}"),
        with_trigger("{webhook: {apiKeys: [projects/default/apiKeys/k]}}"),
        http(""),
        http("method: PUT, query: {a: 1}, headers: {X-A: b, X-B: true}, json: null"),
        http("text: '${{ event.message }}', method:"),
        http("json: {a: [1, {b: '${{ vars.a }}'}]}"),
        with_steps("[{id: a, if: 'event.json.x', timeout: 0.5s, retry: {maxAttempts: 5, multiplier: '1.5', retryOn: [5xx, 429]}, http: {url: 'https://x'}}]"),
        with_steps("[{id: a, retry:, onError:, http: {url: 'https://x'}}]"),
        with_steps("[{id: a, transform: {jsonPath: {path: '$.a[*]', first: true}}}, {id: b, transform: {template: [1]}}, {id: c, transform: {expression: '1'}}]"),
        with_steps("[{id: a, wait: {duration: 3s}}, {id: b, wait: {until: '2026-11-24T10:00:00Z'}}]"),
        with_steps("[{id: a, forEach: {items: '[1]', concurrency: 3, failFast: false, steps: [{id: b, fail: {message: m, code: A_1}}]}}]"),
        with_steps("[{id: a, for_each: {items: '[1]', fail_fast: , steps: [{id: b, succeed: {output: 3}}]}}]"),
        with_steps("[{id: a, parallel: {branches: [{name: b, steps: [{id: c, condition: {rules: [{if: 'true', steps: []}]}}]}]}, on_error: {continue: true}}]"),
        with_steps("[{id: a, script: {wat: '(module (memory (export \"memory\") 1) (func (export \"_start\")))', fuel: 5, memoryMaxBytes: 65536, input: null}}]"),
        with_steps("[{id: a, script: {module: AGFzbQEAAAABBAFgAAADAgEABQMBAAEHEwIGbWVtb3J5AgAGX3N0YXJ0AAAKBAECAAs=, memory_max_bytes: '131072'}}]"),
        with_steps("[{id: a, runWorkflow: {workflow: w-2, input: {a: [1]}, wait: false}}, {id: b, run_workflow: {workflow: w, wait:}}]"),
        with("").replace("spec: {", "spec: {rateLimit: {eventsPerSecond: 5, burst: 0}, concurrency: {maxExecutions: 1}, finally: {steps: [{id: z, succeed: {}}], timeout: 60s}, timeout: 86400s, "),
    ] {
        assert_eq!(reader_takes(&text), Ok(()), "{text}");
        assert_eq!(schema_takes(&validator, &text), Ok(()), "{text}");
    }
    for text in [
        "",
        "[]",
        "name: w",
        "name: w\nspec:",
        &with("dispayName: D"),
        &with("displayName: [a]"),
        &with("state: ENABLED"),
        &with("latestVersion: many"),
        &with("").replace("name: w", "name: W"),
        &with("").replace("name: w", "name: projects/p/apiKeys/w"),
        &with_trigger("{}"),
        &with_trigger(""),
        &with_trigger("{manual: {}, webhook: {apiKeys: [a]}}"),
        &with_trigger("{manual: }"),
        &with_trigger("{webhook: {}}"),
        &with_trigger("{webhook: {apiKeys: }}"),
        &with_trigger("{webhook: {apiKeys: []}}"),
        &with_trigger("{amazonSns: {apiKeys: a}}"),
        &with_trigger("{amazonSns: {apiKeys: [a], minimumSignatureVersion: 3}}"),
        &with_trigger("{amazonSns: {apiKeys: [a], filterPolicy: []}}"),
        &with_trigger(
            "{amazonSns: {apiKeys: [a], filterPolicy: {a: [b]}, filterPolicyScope: MESSAGE_BODY}}",
        ),
        &with_steps("[]"),
        &with_steps("{}"),
        &with_steps("[5]"),
        &with_steps("[{id: a}]"),
        &with_steps("[{succeed: {}}]"),
        &with_steps("[{id: A, succeed: {}}]"),
        &with_steps("[{id: a, succeed: {}, fail: {message: m}}]"),
        &with_steps("[{id: a, wait: {}}]"),
        &with_steps("[{id: a, wait: {duration: 5m}}]"),
        &with_steps("[{id: a, wait: {duration: 5}}]"),
        &with_steps("[{id: a, timeout: -5s, succeed: {}}]"),
        &with_steps("[{id: a, transform: {expression: '1', template: 1}}]"),
        &with_steps("[{id: a, transform: {jsonPath: {}}}]"),
        &with_steps("[{id: a, fail: {}}]"),
        &with_steps("[{id: a, fail: {message: m, code: lower}}]"),
        &with_steps("[{id: a, condition: {rules: []}}]"),
        &with_steps("[{id: a, condition: {rules: [{steps: []}]}}]"),
        &with_steps("[{id: a, forEach: {steps: [{id: b, succeed: {}}]}}]"),
        &with_steps("[{id: a, forEach: {items: '[1]', steps: []}}]"),
        &with_steps(
            "[{id: a, forEach: {items: '[1]', concurrency: 101, steps: [{id: b, succeed: {}}]}}]",
        ),
        &with_steps("[{id: a, parallel: {branches: [{name: b}]}}]"),
        &with_steps("[{id: a, retry: {maxAttempts: 21}, http: {url: 'https://x'}}]"),
        &with_steps("[{id: a, retry: {maxAttempts: 1.5}, http: {url: 'https://x'}}]"),
        &with_steps("[{id: a, script: {}}]"),
        &with_steps("[{id: a, script: {wat: a, module: AGFzbQ==}}]"),
        &with_steps("[{id: a, script: {wat: 1, fuel: 10000000001}}]"),
        &with_steps("[{id: a, script: {wat: 1, memoryMaxBytes: 134217729}}]"),
        &with_steps("[{id: a, runWorkflow: {}}]"),
        &with_steps("[{id: a, runWorkflow: {workflow: W}}]"),
        &with_steps("[{id: a, runWorkflow: {workflow: projects/p/workflows/w}}]"),
        &with_steps("[{id: a, runWorkflow: {workflow: w, wait: [1]}}]"),
        &http("method: FETCH"),
        &http("json: 1, text: a"),
        &http("headers: [a]"),
        &http("headers: {a: [b]}"),
        &http("query: {a: }"),
        &http("timeout: 3s"),
        &with("").replace("spec: {", "spec: {concurrency: {}, "),
        &with("").replace("spec: {", "spec: {rateLimit: {burst: 3}, "),
        &with("").replace("spec: {", "spec: {rateLimit: {eventsPerSecond: 1000001}, "),
        &with("").replace("spec: {", "spec: {vars: {1a: 3}, "),
        &with("").replace("spec: {", "spec: {vars: [], "),
        &with("").replace("spec: {", "spec: {finally: {}, "),
    ] {
        assert!(reader_takes(text).is_err(), "the reader takes {text}");
        assert!(
            schema_takes(&validator, text).is_err(),
            "the schema takes {text}"
        );
    }
}

/// Definitions of every kind of step and trigger, with about all that each may say: what is not there is not taken away below.
/// No part reads another, so that only what is missing is what is wrong.
fn full() -> Vec<String> {
    let step = |step: &str| with_steps(&format!("[{{id: a, {step}}}]"));
    let http = |more: &str| step(&format!("http: {{url: 'https://x', {more}}}"));
    let smtp = "server: {host: h, port: 25, tls: implicit, username: u, password: p}";
    let mut all = vec![
        step("if: 'true', timeout: 5s, totalTimeout: 9s, retry: {maxAttempts: 3, initialBackoff: 1s, maxBackoff: 2s, multiplier: 2, retryOn: [5xx]}, onError: {continue: true}, http: {url: 'https://x'}"),
        step("onError: {steps: [{id: b, fail: {code: A, message: m}}]}, http: {url: 'https://x'}"),
        http("method: POST, query: {a: b}, headers: {c: d}, json: {e: [f]}, successStatus: ['200'], redirects: 2, maxResponseBytes: 9, proxy: 'http://p'"),
        http("auth: {basic: {username: u, password: p}}, text: t"),
        http("auth: {basic: {password: p}}, form: {a: [1]}"),
        http("auth: {bearer: {token: t}}, binary: {base64: aGk=, contentType: a/b}"),
        http("auth: {header: {name: X-A, value: v}}"),
        step("transform: {expression: '1'}"),
        step("transform: {template: {a: 1}}"),
        step("transform: {jsonPath: {path: $.a, from: event.json, first: true}}"),
        step("condition: {rules: [{if: event.json.a, steps: [{id: b, succeed: {}}]}], otherwise: [{id: c, succeed: {}}]}"),
        step("succeed: {output: {a: 1}}"),
        step("fail: {code: A, message: m}"),
        step("wait: {duration: 3s}"),
        step("wait: {until: '2026-11-24T10:00:00Z'}"),
        step("wait: {signal: {name: s, timeout: 3s, onTimeout: continue}}"),
        step("approval: {message: m, approvers: [a], timeout: 3s, onTimeout: reject, rejectedIsOutput: true}"),
        step("parallel: {failFast: true, branches: [{name: b, steps: [{id: c, succeed: {}}]}]}"),
        step("forEach: {items: '[1]', concurrency: 2, failFast: true, steps: [{id: c, succeed: {}}]}"),
        step("aws: {service: ec2, operation: StopInstances, region: eu-central-1, input: {a: 1}, endpointUrl: 'https://x', credentials: {accessKeyId: a, secretAccessKey: b, sessionToken: c}, assumeRole: {roleArn: 'arn:aws:iam::1:role/r', externalId: e, sessionName: name, duration: 900s, endpointUrl: 'https://x'}}"),
        step("aws: {service: guardduty, signingName: guardduty, rest: {method: PUT, path: /a, query: {a: b}, headers: {x-a: b}, json: {a: 1}}}"),
        step("aws: {service: guardduty, rest: {path: /a, text: t}}"),
        step(&format!("email: {{{smtp}, from: a@b, to: [a@b], subject: s, text: t, headers: {{X-A: b}}}}")),
        step("email: {server: {host: h}, from: a@b, to: [a@b], cc: [a@b], bcc: [a@b], replyTo: [a@b], subject: s, text: t, html: h}"),
        step("email: {server: {host: h}, from: a@b, bcc: [a@b], subject: s, html: h}"),
        step("slack: {webhookUrl: 'https://x', text: t, blocks: [{type: divider}], threadTs: '1'}"),
        step("slack: {token: t, channel: c, apiUrl: 'https://x', blocks: [{type: divider}]}"),
        step("runWorkflow: {workflow: w, input: {a: 1}, wait: true}"),
        step("script: {wat: '(module (memory (export \"memory\") 1) (func (export \"_start\")))', input: {a: 1}, fuel: 5, memoryMaxBytes: 65536}"),
        with_trigger("{amazonSns: {apiKeys: [a], topicArns: ['arn:aws:sns:eu-central-1:123456789012:t'], minimumSignatureVersion: 2, maxMessageAge: 60s, filterPolicy: {a: [b]}, filterPolicyScope: FILTER_POLICY_SCOPE_MESSAGE_BODY}}"),
        with_trigger("{webhook: {apiKeys: [a]}}"),
        with_trigger("{manual: {inputs: [{name: a, type: string, required: true, description: d, values: [x]}, {name: b, type: integer, default: 1}]}}"),
        with_trigger("{schedule: {cron: '0 0 * * *', timeZone: Europe/Berlin, misfire: MISFIRE_POLICY_RUN_ALL, misfireMax: 3, startTime: '2026-11-24T10:00:00Z', endTime: '2030-11-24T10:00:00Z', input: {a: 1}}}"),
        with_trigger("{schedule: {rate: 60s}}"),
        with("displayName: D\ndescription: d")
            .replace("spec: {", "spec: {vars: {a: 1}, rateLimit: {eventsPerSecond: 5, burst: 6}, concurrency: {maxExecutions: 1}, finally: {steps: [{id: z, succeed: {}}], timeout: 60s}, timeout: 60s, "),
    ];
    // In the names of the .proto files, too.
    let sample = "slack: {webhook_url: 'https://x', text: t}";
    all.push(step(sample));
    all
}

/// Places of all members of all objects.
fn members(value: &Value, at: &str, all: &mut Vec<(String, String)>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                all.push((at.to_owned(), name.clone()));
                members(value, &format!("{at}/{name}"), all);
            }
        }
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                members(value, &format!("{at}/{index}"), all);
            }
        }
        _ => {}
    }
}

#[test]
fn what_is_missing_is_missed_by_schema_and_reader() {
    let validator = validator();
    let mut refused = 0;
    let mut wrong = Vec::new();
    for text in full() {
        assert_eq!(reader_takes(&text), Ok(()), "{text}");
        assert_eq!(schema_takes(&validator, &text), Ok(()), "{text}");
        let document: Value = serde_saphyr::from_str(&text).unwrap();
        let mut all = Vec::new();
        members(&document, "", &mut all);
        for (at, name) in all {
            let mut less = document.clone();
            let object = less.pointer_mut(&at).unwrap().as_object_mut().unwrap();
            object.remove(&name).unwrap();
            let less = less.to_string();
            let (schema, reader) = (schema_takes(&validator, &less), reader_takes(&less));
            refused += usize::from(reader.is_err());
            if schema.is_ok() != reader.is_ok() {
                wrong.push(format!(
                    "without {at}/{name}: the reader says {reader:?}, the schema {schema:?}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(refused > 100, "{refused}");
}

/// A kind that is not in [`full`] is not held by it.
#[test]
fn every_kind_of_step_and_trigger_is_looked_at() {
    let file = fs::read_to_string(root().join("schema/workflow.schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&file).unwrap();
    let all = full().concat();
    for (message, not_kinds) in [
        (
            "Step",
            &["id", "if", "timeout", "retry", "onError", "totalTimeout"][..],
        ),
        ("Trigger", &[]),
    ] {
        let properties = schema["$defs"][message]["properties"].as_object().unwrap();
        for kind in properties.keys() {
            let is_there = all.contains(&format!("{kind}: {{"));
            assert!(
                is_there || not_kinds.contains(&kind.as_str()),
                "{message}.{kind}"
            );
        }
    }
}
