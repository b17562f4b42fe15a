//! What is known of the values of expressions, where they stand.

use super::Walk;
use crate::{
    expression::{Expression, Facts, JsonTemplate, Wanted},
    workflow::{Action, AwsCallForm, Step, WaitStep},
};

impl Walk<'_> {
    /// What always fails, by what is known of constants and inputs, and what never gives what is needed of it.
    pub(super) fn kinds(&mut self, path: &str, step: &Step) {
        if !self.problems.is_of_written() {
            return;
        }
        let facts = Facts {
            vars: Some(&self.workflow.vars),
            inputs: self.inputs.as_ref(),
            has_no_end: !self.in_finally,
        };
        let mut problems = Vec::new();
        let own = step.condition.iter().map(|own| ("if".to_owned(), own));
        for (field, expression) in own.chain(step.action.expressions()) {
            let mut found = expression.problems(facts);
            if found.is_empty() {
                found = expression.failing();
            }
            for problem in found {
                problems.push((field.clone(), problem.to_string()));
            }
        }
        for (field, expression, wanted) in needed(&step.action) {
            if let Some(problem) = expression.unlike(wanted, facts) {
                let text = format!("${{{{ {} }}}} {problem}", expression.shown());
                problems.push((field, text));
            }
        }
        for (field, text) in problems {
            self.problems.add(format!("{path}.{field}"), text);
        }
    }
}

/// An expression of which something is needed, with its path within the step.
type Needed<'a> = (String, &'a Expression, Wanted);

/// The templates of which something is needed and that are one expression.
fn needed(action: &Action) -> Vec<Needed<'_>> {
    fn one<'a>(field: &str, expression: Option<&'a Expression>, wanted: Wanted) -> Vec<Needed<'a>> {
        let needed = expression.map(|expression| (field.to_owned(), expression, wanted));
        needed.into_iter().collect()
    }
    match action {
        Action::Http(http) => one("http.url", http.url.as_expression(), Wanted::Url),
        Action::Wait(WaitStep::Until(until)) => {
            one("wait.until", until.as_expression(), Wanted::Time)
        }
        Action::Slack(slack) => {
            let blocks = slack.blocks.as_ref().and_then(JsonTemplate::as_expression);
            one("slack.blocks", blocks, Wanted::Blocks)
        }
        Action::Aws(aws) => match &aws.call {
            AwsCallForm::Operation { input, .. } => {
                let input = input.as_ref().and_then(JsonTemplate::as_expression);
                one("aws.input", input, Wanted::Members)
            }
            AwsCallForm::Rest(_) => Vec::new(),
        },
        Action::Email(email) => {
            let lists = [
                ("to", &email.to),
                ("cc", &email.cc),
                ("bcc", &email.bcc),
                ("replyTo", &email.reply_to),
            ];
            let each = lists.into_iter().flat_map(|(name, list)| {
                list.iter()
                    .enumerate()
                    .filter_map(move |(index, template)| {
                        let field = format!("email.{name}[{index}]");
                        Some((field, template.as_expression()?, Wanted::Addresses))
                    })
            });
            each.collect()
        }
        _ => Vec::new(),
    }
}
