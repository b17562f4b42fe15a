//! What is refused when it is written, for it does nothing or can only fail, and runs where it was stored before that was told.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use signalbox_model::{ids::ProjectId, violation::Violations, workflow::Workflow};
use signalbox_proto::{
    convert::{definition, json},
    v1,
};

fn spec(text: &str) -> v1::WorkflowSpec {
    json::from_yaml_str(text).unwrap()
}

fn told(read: Result<Workflow, Violations>) -> Vec<String> {
    let violations = read.err().map(|violations| violations.0);
    let all = violations.into_iter().flatten();
    all.map(|violation| violation.to_string()).collect()
}

/// What is told of a definition that is written.
fn written(text: &str) -> Vec<String> {
    told(definition::workflow(
        &spec(text),
        &ProjectId::default_project(),
    ))
}

/// What is told of one that is stored, as nodes read it.
fn stored(text: &str) -> Vec<String> {
    let source = definition::encode(&spec(text));
    told(definition::decode(&source, &ProjectId::default_project()))
}

fn with_steps(steps: &str) -> String {
    format!("{{trigger: {{manual: {{}}}}, steps: [{steps}]}}")
}

/// Refused at these places, each with these words in order; taken where it is stored.
#[track_caller]
fn refused_once_stored(text: &str, expected: &[&str]) {
    refused(text, expected);
    assert_eq!(stored(text), [""; 0], "{text}");
}

#[track_caller]
fn refused(text: &str, expected: &[&str]) {
    let found = written(text);
    assert_eq!(found.len(), expected.len(), "{text}: {found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{text}: {found}");
    }
}

#[test]
fn misspelt_members_of_closed_lists_are_told_with_what_was_meant() {
    let step = |more: &str| with_steps(&format!("{{id: a, {more}}}"));
    for (text, hint) in [
        (
            step("http: {url: 'https://x', method: PSOT}"),
            "did you mean \"POST\"?",
        ),
        (
            step("http: {url: 'https://x', method: get}"),
            "did you mean \"GET\"?",
        ),
        (
            step("retry: {retryOn: [TIMEUOT]}, http: {url: 'https://x'}"),
            "did you mean \"TIMEOUT\"?",
        ),
        (
            step(
                "email: {server: {host: h, tls: startls}, from: a@b.c, to: [a@b.c], subject: s, text: t}",
            ),
            "did you mean \"starttls\"?",
        ),
        (
            step("wait: {signal: {name: s, onTimeout: contine}}"),
            "did you mean \"continue\"?",
        ),
        (
            step("approval: {message: m, onTimeout: Approve}"),
            "did you mean \"approve\"?",
        ),
        (
            "{trigger: {schedule: {cron: '0 8 * * *', timeZone: Europe/Berln}}, steps: [{id: a, succeed: {}}]}".to_owned(),
            "did you mean \"Europe/Berlin\"?",
        ),
        (
            "{trigger: {manual: {inputs: [{name: n, type: integr}]}}, steps: [{id: a, succeed: {}}]}".to_owned(),
            "did you mean \"integer\"?",
        ),
        (
            "{trigger: {amazonSns: {apiKeys: [k], filterPolicy: {a: [{prefx: x}]}}}, steps: [{id: a, succeed: {}}]}".to_owned(),
            "did you mean \"prefix\"?",
        ),
    ] {
        let found = written(&text);
        assert!(
            matches!(&found[..], [one] if one.ends_with(hint)),
            "{text}: {found:#?}"
        );
    }
}

#[test]
fn steps_without_attempts_have_no_retry_and_no_timeout_of_one() {
    const NONE: &str = "is for steps that have attempts, which this one has not";
    for action in [
        "transform: {expression: '1'}",
        "condition: {rules: [{if: event.json.on, steps: [{id: b, transform: {expression: '1'}}]}]}",
        "succeed: {}",
        "fail: {message: m}",
    ] {
        for (name, value) in [("retry", "{maxAttempts: 3}"), ("timeout", "5s")] {
            let text = with_steps(&format!("{{id: a, {name}: {value}, {action}}}"));
            refused_once_stored(&text, &[&format!("steps[0].{name}: {NONE}")]);
        }
        let both = with_steps(&format!("{{id: a, timeout: 5s, retry: {{}}, {action}}}"));
        refused_once_stored(
            &both,
            &[
                &format!("steps[0].timeout: {NONE}"),
                &format!("steps[0].retry: {NONE}"),
            ],
        );
    }
    // Of the others it was never taken.
    for action in ["wait: {duration: 1s}", "approval: {message: m}"] {
        let text = with_steps(&format!("{{id: a, retry: {{}}, {action}}}"));
        let expected = format!("steps[0].retry: {NONE}");
        refused(&text, &[&expected]);
        assert_eq!(stored(&text), [expected]);
    }
}

#[test]
fn a_condition_neither_bounds_nor_handles_the_steps_that_it_chooses() {
    let condition =
        "condition: {rules: [{if: event.json.on, steps: [{id: b, http: {url: 'https://x'}}]}]}";
    let both = with_steps(&format!(
        "{{id: a, onError: {{continue: true}}, totalTimeout: 1s, {condition}}}"
    ));
    refused_once_stored(
        &both,
        &[
            "steps[0].totalTimeout: would bound nothing; the steps that a condition chooses are not part of it: say it of these, or of a parallel",
            "steps[0].onError: would not handle their failures; the steps that a condition chooses are not part of it: say it of these, or of a parallel",
        ],
    );
    let handler = with_steps(&format!(
        "{{id: a, onError: {{steps: [{{id: h, transform: {{expression: '1'}}}}]}}, {condition}}}"
    ));
    refused_once_stored(&handler, &["steps[0].onError: would not handle"]);
    // What says nothing is no harm, and what is said instead is taken.
    let plain = with_steps(&format!("{{id: a, onError: {{}}, {condition}}}"));
    let around = with_steps(&format!(
        "{{id: p, onError: {{continue: true}}, totalTimeout: 1s, parallel: {{branches: [{{name: only, steps: [{{id: a, {condition}}}]}}]}}}}"
    ));
    for text in [plain, around] {
        assert_eq!(written(&text), [""; 0], "{text}");
    }
}

#[test]
fn what_the_time_ends_first_is_refused() {
    // An hour, unless the workflow says otherwise.
    let long = with_steps("{id: a, wait: {duration: 7200s}}");
    refused_once_stored(
        &long,
        &[
            "steps[0].wait.duration: is longer than the workflow's own timeout, 3600 seconds, which ends the execution before",
        ],
    );
    let enough =
        "{trigger: {manual: {}}, timeout: 7201s, steps: [{id: a, wait: {duration: 7200s}}]}";
    assert_eq!(written(enough), [""; 0]);
    // In finally, its own timeout counts, not that of the workflow.
    let finally = |timeout: &str, step: &str| {
        format!(
            "{{trigger: {{manual: {{}}}}, timeout: 60s, steps: [{{id: a, succeed: {{}}}}], finally: {{{timeout} steps: [{step}]}}}}"
        )
    };
    let bounded = [
        ("approval: {message: m, timeout: 301s}", "approval.timeout"),
        (
            "wait: {signal: {name: s, timeout: 301s}}",
            "wait.signal.timeout",
        ),
        ("wait: {duration: 301s}", "wait.duration"),
    ];
    for (action, field) in bounded {
        let step = format!("{{id: f, {action}}}");
        let expected = format!(
            "finally.steps[0].{field}: is longer than the timeout of finally, 300 seconds, which ends it before"
        );
        refused_once_stored(&finally("", &step), &[&expected]);
        let enough = finally("timeout: 600s,", &step);
        assert_eq!(written(&enough), [""; 0], "{enough}");
    }
}

#[test]
fn a_rule_does_not_read_what_another_one_would_have_run() {
    let rules = |second: &str, otherwise: &str| {
        with_steps(&format!(
            "{{id: c, condition: {{rules: [{{if: event.json.a, steps: [{{id: one, transform: {{expression: '1'}}}}, {{id: same, transform: {{expression: steps.one.output}}}}]}}, {{if: event.json.b, steps: [{{id: two, transform: {{expression: '{second}'}}}}]}}], otherwise: [{{id: three, transform: {{expression: '{otherwise}'}}}}]}}}}, {{id: z, transform: {{expression: 'has(steps.one) ? steps.one.output : 0'}}}}"
        ))
    };
    let both = rules("steps.one.output", "steps.two.output");
    refused_once_stored(
        &both,
        &[
            "steps[0].condition.rules[1].steps[0].transform.expression: steps.one: step \"one\" stands in another rule of a condition",
            "steps[0].condition.otherwise[0].transform.expression: steps.two: step \"two\" stands in another rule of a condition",
        ],
    );
    assert_eq!(written(&rules("1", "1")), [""; 0]);
    // A condition in a condition: those of the rule around have run.
    let nested = with_steps(
        "{id: c, condition: {rules: [{if: event.json.a, steps: [{id: one, transform: {expression: '1'}}, {id: d, condition: {rules: [{if: event.json.b, steps: [{id: two, transform: {expression: steps.one.output}}]}]}}, {id: three, transform: {expression: steps.two.output}}]}]}}",
    );
    assert_eq!(written(&nested), [""; 0]);
}

#[test]
fn what_is_never_chosen_is_told() {
    refused_once_stored(
        &with_steps("{id: a, if: 'false', transform: {expression: '1'}}"),
        &["steps[0].if: is never true: the step can never run"],
    );
    let rules = |first: &str, second: &str| {
        with_steps(&format!(
            "{{id: c, condition: {{rules: [{{if: '{first}', steps: [{{id: a, transform: {{expression: '1'}}}}]}}, {{if: '{second}', steps: []}}], otherwise: [{{id: b, transform: {{expression: '1'}}}}]}}}}"
        ))
    };
    refused_once_stored(
        &rules("1 > 2", "event.json.b"),
        &["steps[0].condition.rules[0].if: is never true: the rule is never chosen"],
    );
    refused_once_stored(
        &rules("true", "event.json.b"),
        &[
            "steps[0].condition.rules[1]: can never be chosen: rules[0] before it always holds",
            "steps[0].condition.otherwise: can never be chosen: rules[0] before it always holds",
        ],
    );
    refused_once_stored(
        &rules("event.json.a", "true"),
        &["steps[0].condition.otherwise: can never be chosen: rules[1] before it always holds"],
    );
    // A constant of the workflow is a switch.
    let switch = "{trigger: {manual: {}}, vars: {on: false}, steps: [{id: a, if: vars.on, transform: {expression: '1'}}]}";
    assert_eq!(written(switch), [""; 0]);
}

#[test]
fn a_lone_expression_gives_what_is_needed_where_it_stands() {
    for (action, expected) in [
        (
            "slack: {webhookUrl: 'https://x', blocks: '${{ event.subject }}'}",
            "steps[0].slack.blocks: ${{ event.subject }} gives null or string; expected a list of blocks",
        ),
        (
            "aws: {service: ec2, operation: StopInstances, input: '${{ event.message }}'}",
            "steps[0].aws.input: ${{ event.message }} gives string; expected a map of members",
        ),
        (
            "email: {server: {host: h}, from: a@b.c, to: ['${{ 5 }}'], subject: s, text: t}",
            "steps[0].email.to[0]: ${{ 5 }} gives int; expected an address or a list of addresses",
        ),
        (
            "wait: {until: '${{ size(event.message) }}'}",
            "steps[0].wait.until: ${{ size(event.message) }} gives int; expected a time, as text (RFC 3339) or a timestamp",
        ),
        (
            "http: {url: '${{ event.attributes }}'}",
            "steps[0].http.url: ${{ event.attributes }} gives map; expected a URL as text",
        ),
    ] {
        let text = with_steps(&format!("{{id: a, {action}}}"));
        let found = written(&text);
        assert_eq!(found, [expected], "{text}");
        assert_eq!(stored(&text), [""; 0], "{text}");
    }
    for action in [
        "slack: {webhookUrl: 'https://x', blocks: '${{ event.json.blocks }}'}",
        "aws: {service: ec2, operation: StopInstances, input: '${{ event.json }}'}",
        "aws: {service: ec2, operation: StopInstances, input: '${{ null }}'}",
        "email: {server: {host: h}, from: a@b.c, to: ['${{ event.subject }}', '${{ event.message.split(\",\") }}'], subject: s, text: t}",
        "wait: {until: '${{ timestamp(event.timestamp) + duration(\"1h\") }}'}",
        "wait: {until: '${{ event.subject }}'}",
        "http: {url: '${{ event.message }}'}",
    ] {
        let text = with_steps(&format!("{{id: a, {action}}}"));
        assert_eq!(written(&text), [""; 0], "{text}");
    }
}

#[test]
fn declared_inputs_are_what_expressions_read() {
    let inputs = "[{name: count, type: integer}, {name: service, type: string, required: true}, {name: hosts, type: array}, {name: more, type: object}]";
    let with_inputs = |expression: &str| {
        format!(
            "{{trigger: {{manual: {{inputs: {inputs}}}}}, steps: [{{id: a, transform: {{expression: {expression:?}}}}}]}}"
        )
    };
    for (expression, expected) in [
        (
            "event.json.cuont",
            "reads event.json.cuont, and there is no such field; did you mean \"count\"?; expected one of count, hosts, more, service",
        ),
        (
            "event.json['cuont']",
            "reads event.json.cuont, and there is no such field; did you mean \"count\"?",
        ),
        (
            "event.json.count + 'a'",
            "event.json.count + 'a' cannot work: event.json.count is int or uint or double, 'a' is string; +",
        ),
        (
            "event.json.service.name",
            "event.json.service.name cannot work: event.json.service is string, which has no fields",
        ),
        (
            "event.json.service.map(x, x)",
            "goes through event.json.service, which is string; expected list or map",
        ),
    ] {
        let expected = format!("steps[0].transform.expression: {expected}");
        refused_once_stored(&with_inputs(expression), &[&expected]);
    }
    for expression in [
        "event.json.count + 1",
        "event.json.service + 'a'",
        "has(event.json.cuont)",
        "event.json.hosts.map(host, host.name)",
        "event.json.more.any.thing",
        "event.json[event.json.service]",
        "event.?json.cuont",
        "event.message + 'a'",
    ] {
        let text = with_inputs(expression);
        assert_eq!(written(&text), [""; 0], "{text}");
    }
    // A condition and the items of a forEach, too.
    let wrong = format!(
        "{{trigger: {{manual: {{inputs: {inputs}}}}}, steps: [{{id: a, if: event.json.service, forEach: {{items: event.json.count, steps: [{{id: b, transform: {{expression: item.x}}}}]}}}}]}}"
    );
    refused_once_stored(
        &wrong,
        &[
            "steps[0].if: gives string; expected true or false",
            "steps[0].forEach.items: gives int or uint or double; expected a list",
        ],
    );
    // What declares none takes anything.
    let any = with_steps("{id: a, transform: {expression: 'event.json.cuont + 1'}}");
    assert_eq!(written(&any), [""; 0]);
}

#[test]
fn constants_are_of_the_kinds_that_they_are() {
    let with_vars = |expression: &str| {
        format!(
            "{{trigger: {{manual: {{}}}}, vars: {{text: a, n: 3, half: 0.5, on: true, list: [1], desk: {{url: x}}}}, steps: [{{id: a, transform: {{expression: {expression:?}}}}}]}}"
        )
    };
    for (expression, expected) in [
        (
            "vars.text + 1",
            "vars.text + 1 cannot work: vars.text is string, 1 is int; +",
        ),
        (
            "vars.n + vars.half",
            "vars.n + vars.half cannot work: vars.n is int, vars.half is double; +",
        ),
        (
            "vars.desk.ulr",
            "reads vars.desk.ulr, and there is no such field; did you mean \"url\"?; expected one of url",
        ),
        ("vars.on ? vars.text + 1 : 2", "vars.text + 1 cannot work"),
    ] {
        let expected = format!("steps[0].transform.expression: {expected}");
        refused_once_stored(&with_vars(expression), &[&expected]);
    }
    // That there is no such constant is told once, and was always.
    let none = with_vars("vars.txet + 1");
    let expected = "steps[0].transform.expression: vars.txet: there is no such constant; did you mean \"text\"?";
    assert_eq!(written(&none), [expected]);
    assert_eq!(stored(&none), [expected]);
    for expression in [
        "vars.text + vars.desk.url",
        "vars.n + 1",
        "vars.half * 2.0",
        "vars.list.map(x, x + 1)",
        "vars.desk[event.message]",
        "has(vars.desk.ulr)",
        "event.json.list.map(vars, vars.text + 1)",
    ] {
        let text = with_vars(expression);
        assert_eq!(written(&text), [""; 0], "{text}");
    }
}

#[test]
fn one_expression_tells_all_its_problems() {
    let text = with_steps(
        "{id: a, http: {url: 'https://x/${{ event.mesage + steps.nope.output + evnt.x }}/${{ lenght(event.message) }}/${{ 1 + }}', json: {a: '${{ event.subject + 1 }}', b: ['${{ vars.v }}']}}}",
    );
    refused(
        &text,
        &[
            "steps[0].http.url: ${{ event.mesage + steps.nope.output + evnt.x }} reads \"evnt\"",
            "steps[0].http.url: ${{ event.mesage + steps.nope.output + evnt.x }} reads event.mesage, and there is no such field",
            "steps[0].http.url: ${{ lenght(event.message) }} calls lenght, and there is no such function",
            "steps[0].http.url: ${{ 1 + }} is not a CEL expression",
            "steps[0].http.json.a: ${{ event.subject + 1 }} event.subject + 1 cannot work",
            // And what the wrong ones read.
            "steps[0].http.url: steps.nope: there is no step \"nope\"",
            "steps[0].http.json.b[0]: vars.v: there is no such constant",
        ],
    );
    let text = with_steps(
        "{id: a, if: 'event.mesage == steps.nope.output', transform: {expression: 'event.messageId > 3 || event.topicARN'}}",
    );
    refused(
        &text,
        &[
            "steps[0].if: reads event.mesage",
            "steps[0].transform.expression: event.messageId > 3 cannot work",
            "steps[0].transform.expression: reads event.topicARN",
            "steps[0].if: steps.nope: there is no step \"nope\"",
        ],
    );
}

#[test]
fn a_wrong_field_hides_nothing_of_its_step() {
    let reads = "${{ steps.nope.output }}";
    for (action, field, place) in [
        (
            format!("http: {{method: FETCH, url: 'https://x/{reads}'}}"),
            "http.method",
            "http.url",
        ),
        (
            format!("http: {{url: 'ftp://x', headers: {{x-a: '{reads}'}}}}"),
            "http.url",
            "http.headers.x-a",
        ),
        (
            format!("aws: {{service: ec2, operation: stop, input: {{a: '{reads}'}}}}"),
            "aws.operation",
            "aws.input.a",
        ),
        (
            format!(
                "email: {{server: {{host: h, tls: ssl}}, from: a@b.c, to: [a@b.c], subject: '{reads}', text: t}}"
            ),
            "email.server.tls",
            "email.subject",
        ),
        (
            format!("slack: {{webhookUrl: x, text: '{reads}'}}"),
            "slack.webhookUrl",
            "slack.text",
        ),
        (
            "transform: {jsonPath: {path: '$[', from: steps.nope.output}}".to_owned(),
            "transform.jsonPath.path",
            "transform.jsonPath.from",
        ),
        (
            format!("runWorkflow: {{workflow: Bad, input: {{a: '{reads}'}}}}"),
            "runWorkflow.workflow",
            "runWorkflow.input.a",
        ),
    ] {
        let text = with_steps(&format!("{{id: a, {action}}}"));
        let found = written(&text);
        assert_eq!(found.len(), 2, "{text}: {found:#?}");
        assert!(
            found[0].starts_with(&format!("steps[0].{field}: ")),
            "{found:#?}"
        );
        let hidden = format!("steps[0].{place}: steps.nope: there is no step \"nope\"");
        assert_eq!(found[1], hidden, "{text}");
    }
    // A condition and items that are wrong, too; steps within them are read as ever.
    let within = with_steps(
        "{id: a, forEach: {items: 'event.mesage + steps.nope.output', steps: [{id: b, http: {method: FETCH, url: 'https://x/${{ item.id }}${{ steps.gone.output }}'}}]}}, {id: c, condition: {rules: [{if: 'event.mesage == steps.none.output', steps: []}]}}",
    );
    refused(
        &within,
        &[
            "steps[0].forEach.items: reads event.mesage",
            "steps[0].forEach.steps[0].http.method: ",
            "steps[1].condition.rules[0].if: reads event.mesage",
            "steps[0].forEach.items: steps.nope: there is no step",
            "steps[0].forEach.steps[0].http.url: steps.gone: there is no step",
            "steps[1].condition.rules[0].if: steps.none: there is no step",
        ],
    );
    // A wrong condition neither holds nor does not.
    let text = with_steps(
        "{id: a, if: '1 +', succeed: {}}, {id: b, condition: {rules: [{if: '1 +', steps: []}], otherwise: [{id: c, succeed: {}}]}}",
    );
    refused(
        &text,
        &[
            "steps[0].if: is not a CEL expression",
            "steps[1].condition.rules[0].if: is not a CEL expression",
        ],
    );
    // A wrong step may have been one for which the workflow has more time.
    let text = with_steps("{id: a, approval: {}}, {id: b, wait: {duration: 7200s}}");
    refused(&text, &["steps[0].approval.message: is missing"]);
}

#[test]
fn what_a_wrong_definition_names_is_known() {
    let text = "{trigger: {webhook: {apiKeys: [pager, Bad]}}, steps: [{id: a, http: {method: FETCH, url: 'https://x/${{ secrets.token }}'}}, {id: b, transform: {expression: secrets.other}}, {id: c, runWorkflow: {workflow: child, input: '${{ evnt }}'}}]}";
    let reading = definition::read(&spec(text), &ProjectId::default_project());
    assert_eq!(reading.workflow.unwrap_err().0.len(), 4);
    let names = reading.names;
    let keys: Vec<_> = names
        .keys
        .iter()
        .map(|(field, name)| format!("{field} {name}"))
        .collect();
    assert_eq!(
        keys,
        ["trigger.webhook.apiKeys[0] projects/default/apiKeys/pager"]
    );
    // One that may not be read where it is is told so, and not looked for.
    let secrets: Vec<_> = names
        .secrets
        .iter()
        .map(|(field, id)| format!("{field} {id}"))
        .collect();
    assert_eq!(secrets, ["steps[0].http.url token"]);
    let calls: Vec<_> = names
        .calls
        .iter()
        .map(|(field, id)| format!("{field} {id}"))
        .collect();
    assert_eq!(calls, ["steps[2].runWorkflow.workflow child"]);
}

#[test]
fn a_wait_is_held_against_the_time_of_its_step_where_that_ends_first() {
    let wait = "wait: {duration: 7200s}";
    // The step fails after ten minutes, and the next one runs: what comes after an hour does not matter.
    for on_error in [
        "{continue: true}",
        "{steps: [{id: h, transform: {expression: '1'}}]}",
    ] {
        let step = format!("{{id: a, totalTimeout: 600s, onError: {on_error}, {wait}}}");
        assert_eq!(written(&with_steps(&step)), [""; 0], "{step}");
        let around = format!(
            "{{id: p, totalTimeout: 600s, onError: {on_error}, parallel: {{branches: [{{name: b, steps: [{{id: a, {wait}}}]}}]}}}}"
        );
        assert_eq!(written(&with_steps(&around)), [""; 0], "{around}");
        // A handler has the time of what is around.
        let handler = format!(
            "{{id: a, totalTimeout: 600s, onError: {{steps: [{{id: h, {wait}}}]}}, wait: {{duration: 7200s}}}}"
        );
        let expected = "steps[0].onError.steps[0].wait.duration: is longer than the workflow's own timeout, 3600 seconds";
        refused_once_stored(&with_steps(&handler), &[expected]);
    }
    let ends = "is longer than the totalTimeout of step \"a\", 600 seconds, which ends it before";
    for (action, field) in [
        (wait, "wait.duration"),
        ("approval: {message: m, timeout: 601s}", "approval.timeout"),
        (
            "wait: {signal: {name: s, timeout: 601s}}",
            "wait.signal.timeout",
        ),
    ] {
        let step = with_steps(&format!("{{id: a, totalTimeout: 600s, {action}}}"));
        refused_once_stored(&step, &[&format!("steps[0].{field}: {ends}")]);
    }
    let around = "{id: a, totalTimeout: 600s, parallel: {branches: [{name: b, steps: [{id: w, wait: {duration: 601s}}]}]}}";
    refused_once_stored(
        &with_steps(around),
        &[&format!(
            "steps[0].parallel.branches[0].steps[0].wait.duration: {ends}"
        )],
    );
    // One that is longer than the workflow's ends nothing before that.
    let longer = with_steps(&format!(
        "{{id: a, totalTimeout: 7300s, onError: {{continue: true}}, {wait}}}"
    ));
    refused_once_stored(
        &longer,
        &["steps[0].wait.duration: is longer than the workflow's own timeout"],
    );
}

#[test]
fn what_fails_with_every_event_is_refused() {
    for (expression, problem) in [
        (
            "timestamp('nonsense')",
            "timestamp('nonsense') always fails: ",
        ),
        ("event.json.n + 1 / 0", "1 / 0 always fails: "),
        (
            "event.message.matches(r'\\\\w{5000}')",
            "event.message.matches('\\w{5000}') always fails: ",
        ),
        (
            "execution.state",
            "reads execution.state, which only steps of finally have: before, the execution has not ended",
        ),
        (
            "execution['error'].code",
            "reads execution.error, which only steps of finally have: before, the execution has not ended",
        ),
    ] {
        let step = format!("{{id: a, transform: {{expression: \"{expression}\"}}}}");
        let expected = format!("steps[0].transform.expression: {problem}");
        refused_once_stored(&with_steps(&step), &[&expected]);
    }
    let finally = "{trigger: {manual: {}}, steps: [{id: a, succeed: {}}], finally: {steps: [{id: f, transform: {expression: \"[execution.state, execution.error]\"}}]}}";
    assert_eq!(written(finally), [""; 0]);
}

/// All that is evaluated of a definition takes as long as one evaluation may: what is left is not told.
#[test]
fn a_definition_is_checked_with_one_budget() {
    let step = |n: usize| {
        let expression = format!("[lists.range(300000).size(), {n} / 0]");
        format!("{{id: s{n}, transform: {{expression: \"{expression}\"}}}}")
    };
    let steps: Vec<_> = (0..100).map(step).collect();
    let found = written(&with_steps(&steps.join(", ")));
    assert!((3..10).contains(&found.len()), "{found:#?}");
}
