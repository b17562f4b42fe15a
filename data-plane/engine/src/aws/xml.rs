//! XML answers as JSON: by the forms that AWS's protocols write, and by what is known of the service's lists and maps.

use quick_xml::{Reader, escape::resolve_xml_entity, events::Event};
use serde_json::{Map, Value};
use signalbox_model::{
    aws::{Element, Elements},
    limits,
};

/// What no document of AWS is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer is no XML of AWS")]
pub(crate) struct Malformed;

/// An element that has begun.
#[derive(Default)]
struct Open {
    name: String,
    text: String,
    children: Vec<(String, Value)>,
}

/// The root element's name and its content, in which `elements` are known. Texts stay texts. Attributes are dropped.
pub(crate) fn parse(text: &str, elements: Elements) -> Result<(String, Value), Malformed> {
    let mut reader = Reader::from_str(text.trim_start_matches('\u{feff}'));
    let mut open: Vec<Open> = Vec::new();
    let mut root = None;
    loop {
        match reader.read_event().map_err(|_| Malformed)? {
            Event::Start(start) => {
                if root.is_some() || open.len() == limits::JSON_DEPTH_MAX {
                    return Err(Malformed);
                }
                open.push(Open {
                    name: start.local_name().as_ref().to_owned(),
                    ..Open::default()
                });
            }
            Event::Empty(start) => {
                let name = start.local_name().as_ref().to_owned();
                let value = value(elements, &name, "", Vec::new());
                match open.last_mut() {
                    Some(parent) => parent.children.push((name, value)),
                    None if root.is_none() => root = Some((name, value)),
                    None => return Err(Malformed),
                }
            }
            Event::End(_) => {
                let Open {
                    name,
                    text,
                    children,
                } = open.pop().ok_or(Malformed)?;
                let value = value(elements, &name, &text, children);
                match open.last_mut() {
                    Some(parent) => parent.children.push((name, value)),
                    None => root = Some((name, value)),
                }
            }
            Event::Text(text) => push(&mut open, &text.into_inner()),
            Event::CData(text) => push(&mut open, &text.into_inner()),
            Event::GeneralRef(reference) => {
                let char = reference.resolve_char_ref().map_err(|_| Malformed)?;
                match char {
                    Some(char) => push(&mut open, char.encode_utf8(&mut [0; 4])),
                    None => {
                        let name = reference.into_inner();
                        push(&mut open, resolve_xml_entity(&name).ok_or(Malformed)?);
                    }
                }
            }
            // It could define anything.
            Event::DocType(_) => return Err(Malformed),
            Event::Eof if open.is_empty() => return root.ok_or(Malformed),
            Event::Eof => return Err(Malformed),
            Event::Decl(_) | Event::PI(_) | Event::Comment(_) => {}
        }
    }
}

fn push(open: &mut [Open], text: &str) {
    if let Some(element) = open.last_mut() {
        element.text.push_str(text);
    }
}

/// The content of an element:
/// - of one that is known as a list, its children, whatever they are called;
/// - without children, its text; a map, or an EC2 list (`…Set`), of nothing is empty;
/// - with children that are all `member` or `item`, or all called as it is but for its plural: a list of them;
/// - with children that are all `entry`, each a key and a value: a map;
/// - with others: a map, in which a name that is there several times, or is known to repeat, has a list.
fn value(elements: Elements, name: &str, text: &str, children: Vec<(String, Value)>) -> Value {
    let kind = elements.kind(name);
    let is_empty = children.is_empty() && text.trim().is_empty();
    if kind == Some(Element::List) && (is_empty || !children.is_empty()) {
        return children.into_iter().map(|(_, value)| value).collect();
    }
    if children.is_empty() {
        return match kind {
            Some(Element::Map) if is_empty => Value::Object(Map::new()),
            _ if is_empty && name.ends_with("Set") => Value::Array(Vec::new()),
            _ => Value::String(text.to_owned()),
        };
    }
    let all_are = |expected: &str| children.iter().all(|(child, _)| child == expected);
    let singular = name.strip_suffix('s').unwrap_or(name);
    if all_are("member") || all_are("item") || (singular != name && all_are(singular)) {
        return children.into_iter().map(|(_, value)| value).collect();
    }
    if all_are("entry") {
        let entries: Option<Vec<_>> = children.iter().map(|(_, value)| entry(value)).collect();
        if let Some(entries) = entries {
            return Value::Object(entries.into_iter().collect());
        }
    }
    let mut members: Map<String, Value> = Map::new();
    for (child, value) in children {
        let values = members
            .entry(child)
            .or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(values) = values {
            values.push(value);
        }
    }
    for (name, values) in &mut members {
        if let Value::Array(several) = values
            && several.len() == 1
            && elements.kind(name) != Some(Element::Item)
        {
            *values = several.remove(0);
        }
    }
    Value::Object(members)
}

/// Key and value of an `entry`, in the two ways that AWS calls them.
fn entry(value: &Value) -> Option<(String, Value)> {
    let members = value.as_object().filter(|members| members.len() == 2)?;
    [["key", "value"], ["Name", "Value"]]
        .iter()
        .find_map(|[key, value]| {
            let key = members.get(*key)?.as_str()?;
            Some((key.to_owned(), members.get(*value)?.clone()))
        })
}
