//! The plan as people and programs read it: unified diffs.

use serde_json::json;
use similar::TextDiff;

use super::plan::{Change, Plan};

const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const CYAN: &str = "\x1b[36m";
const BOLD: &str = "\x1b[1m";
const PLAIN: &str = "\x1b[0m";

/// What is done, in one word.
fn action(change: &Change) -> &'static str {
    match change {
        Change::Create(_) => "create",
        Change::Update(..) => "update",
        Change::Undelete(..) => "undelete",
        Change::Delete(_) => "delete",
    }
}

/// What there is, and what there is to be.
fn diff(change: &Change) -> String {
    let nothing = || ("/dev/null".to_owned(), String::new());
    let at_control_plane = || format!("{} (control plane)", change.name());
    let deleted = || format!("{} (control plane, deleted)", change.name());
    let (before, after) = match change {
        Change::Create(wanted) => (
            nothing(),
            (wanted.file().to_owned(), wanted.resource.to_yaml()),
        ),
        Change::Update(wanted, current) => (
            (at_control_plane(), current.resource.to_yaml()),
            (wanted.file().to_owned(), wanted.resource.to_yaml()),
        ),
        Change::Undelete(wanted, current) => (
            (deleted(), current.resource.to_yaml()),
            (wanted.file().to_owned(), wanted.resource.to_yaml()),
        ),
        Change::Delete(current) => ((at_control_plane(), current.resource.to_yaml()), nothing()),
    };
    let diff = TextDiff::from_lines(&before.1, &after.1);
    diff.unified_diff()
        .context_radius(3)
        .header(&before.0, &after.0)
        .to_string()
}

/// The name, and what is done with it.
fn title(change: &Change) -> String {
    let reason = match change {
        Change::Update(wanted, current) if current.resource == wanted.resource => {
            ": it is not published"
        }
        Change::Undelete(wanted, current) if current.resource == wanted.resource => " as it was",
        _ => "",
    };
    format!("{} {}{reason}", action(change), change.name())
}

fn count(plan: &Plan, of: &str) -> usize {
    let of = plan.changes.iter().filter(|change| action(change) == of);
    of.count()
}

/// The plan for people.
pub(super) fn text(plan: &Plan, has_colour: bool) -> String {
    let mut text = String::new();
    for change in &plan.changes {
        coloured(&title(change), Some(BOLD).filter(|_| has_colour), &mut text);
        for line in diff(change).lines() {
            let colour = match line.as_bytes() {
                [b'-', b'-', b'-', ..] | [b'+', b'+', b'+', ..] => Some(BOLD),
                [b'-', ..] => Some(RED),
                [b'+', ..] => Some(GREEN),
                [b'@', ..] => Some(CYAN),
                _ => None,
            };
            coloured(line, colour.filter(|_| has_colour), &mut text);
        }
        text.push('\n');
    }
    let undeleted = match count(plan, "undelete") {
        0 => String::new(),
        count => format!("{count} to undelete, "),
    };
    text.push_str(&format!(
        "{} to create, {} to update, {undeleted}{} to delete, {} unchanged\n",
        count(plan, "create"),
        count(plan, "update"),
        count(plan, "delete"),
        plan.unchanged,
    ));
    text
}

fn coloured(line: &str, colour: Option<&str>, text: &mut String) {
    match colour {
        Some(colour) => {
            text.push_str(colour);
            text.push_str(line);
            text.push_str(PLAIN);
        }
        None => text.push_str(line),
    }
    text.push('\n');
}

/// The plan for programs.
pub(super) fn json(plan: &Plan) -> String {
    let changes = plan.changes.iter().map(
        |change| json!({"action": action(change), "name": change.name(), "diff": diff(change)}),
    );
    let changes: Vec<_> = changes.collect();
    let plan = json!({"changes": changes, "unchanged": plan.unchanged});
    format!("{plan:#}\n")
}
