//! Keys that are to count for less than now, while workflows change, too.

use signalbox_model::key_scope::KeyScope;
use signalbox_proto::v1;

use super::resource::{Resource, scope_of};

/// What a key is to be until the workflows are as they are wanted, when it is not to count any more for some of them that it
/// counts for now: those of before and those of after. The control plane lets neither a workflow name a key that does not count
/// for it, nor a key leave a workflow that names it. None: there is nothing to wait for.
pub(super) fn meanwhile(wanted: &Resource, current: &Resource) -> Option<Resource> {
    let (Resource::Key(wanted), Resource::Key(current)) = (wanted, current) else {
        return None;
    };
    let (after, before) = (scope(wanted)?, scope(current)?);
    let narrows = match before.workflows().len() {
        0 => after.workflows().len() > 0,
        _ => before.workflows().any(|id| !after.has_workflow(id)),
    };
    if !narrows {
        return None;
    }
    let mut both = current.clone();
    let spec = both.spec.get_or_insert_default();
    // Everything has all of after.
    if !spec.workflows.is_empty() {
        let more = after.workflows().map(ToString::to_string);
        spec.workflows.extend(more);
    }
    Some(Resource::Key(both).settled())
}

fn scope(key: &v1::ApiKeyManifest) -> Option<KeyScope> {
    scope_of(&key.name, &key.spec.clone().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn key(workflows: &[&str]) -> Resource {
        let manifest = v1::ApiKeyManifest {
            name: "projects/default/apiKeys/k".to_owned(),
            spec: Some(v1::ApiKeySpec {
                workflows: workflows.iter().map(ToString::to_string).collect(),
                ..v1::ApiKeySpec::default()
            }),
            ..v1::ApiKeyManifest::default()
        };
        Resource::Key(manifest).settled()
    }

    #[test]
    fn what_counts_for_less_counts_for_both_meanwhile() {
        for (before, after, both) in [
            (&["a"][..], &["a"][..], None),
            (&["a"], &["a", "b"], None),
            (&["a"], &[], None),
            (&[], &[], None),
            (&[], &["a"], Some(&[][..])),
            (&["a", "b"], &["a"], Some(&["a", "b"])),
            (&["a", "b"], &["c", "b"], Some(&["a", "b", "c"])),
        ] {
            assert_eq!(
                meanwhile(&key(after), &key(before)),
                both.map(key),
                "{before:?} to {after:?}"
            );
        }
    }

    #[test]
    fn nothing_else_changes_meanwhile() {
        let Resource::Key(mut current) = key(&["a"]) else {
            panic!("is no key");
        };
        current.display_name = "Before".to_owned();
        let both = meanwhile(&key(&["b"]), &Resource::Key(current));
        let Some(Resource::Key(both)) = both else {
            panic!("waits for nothing");
        };
        assert_eq!(both.display_name, "Before");
    }
}
