//! Which elements of answers in XML are lists and maps, where their form does not tell: one that is empty, or holds one item, may
//! be anything. `lists.txt` is made of the service models of the AWS SDK by `tests/tools/aws_lists.py`.

use std::{collections::HashMap, sync::LazyLock};

/// What an element is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// A list; its children are the items, whatever they are called.
    List,
    /// An item of a list that has no element of its own: one of them is a list too.
    Item,
    /// A map; its children are entries of a key and a value.
    Map,
}

/// The elements of one service's answers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Elements(Option<&'static Known>);

type Known = HashMap<&'static str, Element>;

static KNOWN: LazyLock<HashMap<&'static str, Known>> =
    LazyLock::new(|| read(include_str!("lists.txt")));

impl Elements {
    /// Those of the service that is called `signing_name` in signatures; of one that is not known, none.
    #[must_use]
    pub fn of(signing_name: &str) -> Self {
        Self(KNOWN.get(signing_name))
    }

    /// What the element `name` is, if it is one of these in all places of the service's answers.
    #[must_use]
    pub fn kind(self, name: &str) -> Option<Element> {
        self.0?.get(name).copied()
    }
}

/// Lines of names under `[service kind]`.
fn read(text: &'static str) -> HashMap<&'static str, Known> {
    let mut services: HashMap<&str, Known> = HashMap::new();
    let mut section = None;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some(head) = line.strip_prefix('[') {
            let head = head.trim_end_matches(']').split_once(' ');
            section = head.and_then(|(service, kind)| Some((service, kind_of(kind)?)));
        } else if let Some((service, kind)) = section {
            let known = services.entry(service).or_default();
            known.extend(line.split(' ').map(|name| (name, kind)));
        }
    }
    services
}

fn kind_of(text: &str) -> Option<Element> {
    match text {
        "list" => Some(Element::List),
        "flat" => Some(Element::Item),
        "map" => Some(Element::Map),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_table_is_read_whole() {
        let text = include_str!("lists.txt");
        let words = |line: &str| line.split(' ').count();
        let lines = text.lines().filter(|line| !line.starts_with(['#', '[']));
        let named: usize = lines.map(words).sum();
        assert!(named > 1000, "{named}");
        assert_eq!(KNOWN.values().map(HashMap::len).sum::<usize>(), named);
        for (service, name, kind) in [
            ("monitoring", "MetricAlarms", Some(Element::List)),
            ("rds", "VpcSecurityGroups", Some(Element::List)),
            ("ec2", "tagSet", Some(Element::List)),
            ("s3", "Contents", Some(Element::Item)),
            ("sns", "Attributes", Some(Element::Map)),
            // A map in another place.
            ("ec2", "associations", None),
            ("nothing", "MetricAlarms", None),
        ] {
            assert_eq!(Elements::of(service).kind(name), kind, "{service} {name}");
        }
    }
}
