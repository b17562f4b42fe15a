//! JSON → [`FilterPolicy`]: every problem at once, each at its path.

use ipnet::IpNet;
use serde_json::{Map, Value};

use super::{
    FilterPolicy, FilterPolicyScope,
    condition::Condition,
    number::{Comparison, Decimal, Interval},
    pattern::{Pattern, ValuePattern, lower_case},
    wildcard::Wildcard,
};
use crate::{
    limits,
    suggestion::suggestion,
    violation::{Collector, Violations},
};

/// Where AWS sees no alternatives in `$or`: names of operators, and those that event-ruler keeps for later ones.
const RESERVED: [&str; 24] = [
    "exactly",
    "equals-ignore-case",
    "prefix",
    "suffix",
    "anything-but",
    "exists",
    "wildcard",
    "numeric",
    "cidr",
    "=",
    "<",
    "<=",
    ">",
    ">=",
    "regex",
    "not-wildcard",
    "not-equals-ignore-case",
    "date-after",
    "date-on-or-after",
    "date-before",
    "date-on-or-before",
    "in-date-range",
    "ip-address-in-range",
    "ip-address-not-in-range",
];
const OPERATORS: &str =
    "prefix, suffix, equals-ignore-case, wildcard, cidr, numeric, exists or anything-but";

pub(super) fn policy(
    field: &str,
    value: &Value,
    scope: FilterPolicyScope,
) -> Result<Option<FilterPolicy>, Violations> {
    let Value::Object(members) = value else {
        return Err(Violations::one(field, "must be an object"));
    };
    if members.is_empty() {
        return Ok(None);
    }
    let mut parser = Parser {
        scope,
        keys: Vec::new(),
        wildcard_points: 0,
        problems: Collector::default(),
    };
    let place = Place {
        path: None,
        level: 1,
    };
    let parsed = parser.object(field, members, &place);
    parser.limits(field, value, parsed.as_ref());
    let Parser { keys, problems, .. } = parser;
    problems.finish(parsed.map(|parsed| {
        Some(FilterPolicy {
            scope,
            keys,
            condition: parsed.condition,
        })
    }))
}

/// A condition, and how many combinations of values it has ("Filter policy constraints").
struct Parsed {
    condition: Condition,
    combinations: u64,
}

/// Where in the policy an object stands.
struct Place {
    /// Names so far, joined by dots; none at the top.
    path: Option<String>,
    /// From 1.
    level: u64,
}

impl Place {
    fn path_of(&self, name: &str) -> String {
        match &self.path {
            Some(path) => format!("{path}.{name}"),
            None => name.to_owned(),
        }
    }
}

struct Parser {
    scope: FilterPolicyScope,
    keys: Vec<String>,
    wildcard_points: u64,
    problems: Collector,
}

impl Parser {
    fn limits(&mut self, field: &str, value: &Value, parsed: Option<&Parsed>) {
        let mut limit = |what: &str, is: u64, max: u64| {
            if is > max {
                let text = format!("has {is} {what}; Amazon SNS allows at most {max}");
                self.problems.add(field, text);
            }
        };
        let bytes = value.to_string().len() as u64;
        limit("bytes", bytes, limits::FILTER_POLICY_MAX_BYTES);
        let keys = self.keys.len() as u64;
        limit("keys", keys, limits::FILTER_POLICY_KEYS_MAX);
        let combinations = parsed.map_or(0, |parsed| parsed.combinations);
        limit(
            "combinations of values",
            combinations,
            limits::FILTER_POLICY_COMBINATIONS_MAX,
        );
        let points = self.wildcard_points;
        limit(
            "points of wildcard complexity",
            points,
            limits::FILTER_POLICY_WILDCARD_POINTS_MAX,
        );
    }

    fn object(
        &mut self,
        field: &str,
        members: &Map<String, Value>,
        place: &Place,
    ) -> Option<Parsed> {
        if members.is_empty() {
            self.problems.add(field, "must hold at least one key");
        }
        let parsed = members.iter().map(|(name, value)| {
            let field = format!("{field}.{name}");
            match alternatives(name, value) {
                Some(objects) => self.alternatives(&field, &objects, place),
                None => self.member(&field, name, value, place),
            }
        });
        let parsed = whole(parsed).filter(|parsed| !parsed.is_empty())?;
        Some(Parsed {
            combinations: parsed.iter().fold(1, |product: u64, parsed| {
                product.saturating_mul(parsed.combinations)
            }),
            condition: Condition::All(parsed.into_iter().map(|p| p.condition).collect()),
        })
    }

    fn alternatives(
        &mut self,
        field: &str,
        objects: &[&Map<String, Value>],
        place: &Place,
    ) -> Option<Parsed> {
        let parsed = objects
            .iter()
            .enumerate()
            .map(|(index, members)| self.object(&format!("{field}[{index}]"), members, place));
        let parsed = whole(parsed)?;
        Some(Parsed {
            combinations: parsed.iter().fold(0, |sum: u64, parsed| {
                sum.saturating_add(parsed.combinations)
            }),
            condition: Condition::Any(parsed.into_iter().map(|p| p.condition).collect()),
        })
    }

    fn member(&mut self, field: &str, name: &str, value: &Value, place: &Place) -> Option<Parsed> {
        let path = place.path_of(name);
        match value {
            Value::Object(members) if self.scope == FilterPolicyScope::MessageBody => {
                let place = Place {
                    path: Some(path),
                    level: place.level + 1,
                };
                self.object(field, members, &place)
            }
            Value::Object(_) => {
                let text = "is an object, and attributes hold no keys; expected a list of values, or \
                            filterPolicyScope: FILTER_POLICY_SCOPE_MESSAGE_BODY";
                self.problems.add(field, text);
                None
            }
            Value::Array(values) => self.key(field, path, values, place.level),
            _ => {
                let text = "must be a list of values, also where there is only one, or an object";
                self.problems.add(field, text);
                None
            }
        }
    }

    fn key(&mut self, field: &str, path: String, values: &[Value], level: u64) -> Option<Parsed> {
        if values.is_empty() {
            self.problems.add(field, "must hold at least one value");
        }
        let key = self.keys.iter().position(|known| *known == path);
        let key = key.unwrap_or_else(|| {
            self.keys.push(path);
            self.keys.len() - 1
        });
        let patterns = values
            .iter()
            .enumerate()
            .map(|(index, value)| self.pattern(&format!("{field}[{index}]"), value));
        let patterns = whole(patterns).filter(|patterns| !patterns.is_empty())?;
        let count = patterns.len() as u64;
        if patterns.iter().any(Pattern::has_wildcard) {
            let points: u64 = patterns.iter().map(Pattern::wildcard_points).sum();
            self.wildcard_points += points * count;
        }
        Some(Parsed {
            combinations: count.saturating_mul(level),
            condition: Condition::Key { key, patterns },
        })
    }

    fn pattern(&mut self, field: &str, value: &Value) -> Option<Pattern> {
        match value {
            Value::String(_) | Value::Number(_) => self.literal(field, value).map(Pattern::Value),
            Value::Bool(flag) => Some(Pattern::Value(ValuePattern::Bool(*flag))),
            Value::Null => Some(Pattern::Value(ValuePattern::Null)),
            Value::Object(operators) => {
                let (operator, operand) = self.only(field, operators, OPERATORS)?;
                self.operator(&format!("{field}.{operator}"), operator, operand)
            }
            Value::Array(_) => {
                let text = "is a list; expected a text, a number, true, false, null or an operator";
                self.problems.add(field, text);
                None
            }
        }
    }

    /// A text or a number.
    fn literal(&mut self, field: &str, value: &Value) -> Option<ValuePattern> {
        match value {
            Value::String(text) => self.text(field, text).map(ValuePattern::Text),
            Value::Number(_) => self.number(field, value).map(ValuePattern::Number),
            _ => {
                self.problems.add(field, "must be a text or a number");
                None
            }
        }
    }

    fn operator(&mut self, field: &str, operator: &str, operand: &Value) -> Option<Pattern> {
        match operator {
            "exists" => match operand {
                Value::Bool(exists) => Some(Pattern::Exists(*exists)),
                _ => {
                    self.problems.add(field, "must be true or false");
                    None
                }
            },
            "anything-but" => self.anything_but(field, operand).map(Pattern::AnythingBut),
            "numeric" => self
                .interval(field, operand)
                .map(|interval| Pattern::Value(ValuePattern::Numeric(interval))),
            "prefix" | "suffix" | "equals-ignore-case" | "wildcard" | "cidr" => self
                .text_operator(field, operator, operand)
                .map(Pattern::Value),
            _ => {
                let names = RESERVED.into_iter().filter(|name| OPERATORS.contains(name));
                let hint = suggestion(operator, names);
                let text = format!("there is no such operator; expected {OPERATORS}{hint}");
                self.problems.add(field, text);
                None
            }
        }
    }

    fn anything_but(&mut self, field: &str, operand: &Value) -> Option<Vec<ValuePattern>> {
        const OPERATORS: &str = "prefix, suffix or wildcard";
        match operand {
            Value::Object(operators) => {
                let (operator, operand) = self.only(field, operators, OPERATORS)?;
                let field = format!("{field}.{operator}");
                if !["prefix", "suffix", "wildcard"].contains(&operator) {
                    let text = format!("cannot stand in anything-but; expected {OPERATORS}");
                    self.problems.add(field, text);
                    return None;
                }
                Some(vec![self.text_operator(&field, operator, operand)?])
            }
            Value::Array(values) => {
                if values.is_empty() {
                    self.problems.add(field, "must hold at least one value");
                    return None;
                }
                whole(
                    values
                        .iter()
                        .enumerate()
                        .map(|(index, value)| self.literal(&format!("{field}[{index}]"), value)),
                )
            }
            _ => Some(vec![self.literal(field, operand)?]),
        }
    }

    fn text_operator(
        &mut self,
        field: &str,
        operator: &str,
        operand: &Value,
    ) -> Option<ValuePattern> {
        let Value::String(text) = operand else {
            self.problems.add(field, "must be a text");
            return None;
        };
        let text = self.text(field, text)?;
        match operator {
            "prefix" | "suffix" if text.is_empty() => {
                let text = "must not be empty: every text begins and ends with that";
                self.problems.add(field, text);
                None
            }
            "prefix" => Some(ValuePattern::Prefix(text)),
            "suffix" => Some(ValuePattern::Suffix(text)),
            "equals-ignore-case" => {
                let lower = lower_case(&text).collect();
                Some(ValuePattern::EqualsIgnoreCase(lower))
            }
            "wildcard" => self
                .problems
                .check(field, Wildcard::parse(&text))
                .map(ValuePattern::Wildcard),
            _ => match text.parse::<IpNet>() {
                Ok(net) => Some(ValuePattern::Cidr(net.trunc())),
                Err(_) => {
                    let text = format!(
                        "{text:?} is no block of addresses; expected one such as 10.0.0.0/24 or 2001:db8::/32"
                    );
                    self.problems.add(field, text);
                    None
                }
            },
        }
    }

    fn interval(&mut self, field: &str, operand: &Value) -> Option<Interval> {
        const EXPECTED: &str = "expected an operator (=, <, <=, >, >=) and a number, or > or >=, a number, < or <=, and a \
                                greater number";
        let list = operand.as_array().map(Vec::as_slice).unwrap_or_default();
        let comparison = |value: &Value| value.as_str().and_then(Comparison::parse);
        let shape = match list {
            [operator, bound] => comparison(operator).map(|operator| (operator, bound, None)),
            [low, bottom, high, top] => match (comparison(low), comparison(high)) {
                (
                    Some(low @ (Comparison::More | Comparison::MoreOrEqual)),
                    Some(high @ (Comparison::Less | Comparison::LessOrEqual)),
                ) => Some((low, bottom, Some((high, top)))),
                _ => None,
            },
            _ => None,
        };
        let Some((operator, bound, second)) = shape else {
            self.problems
                .add(field, format!("is of another form; {EXPECTED}"));
            return None;
        };
        let first = self.number(&format!("{field}[1]"), bound);
        let Some((second_operator, top)) = second else {
            return Some(Interval::one_sided(operator, first?));
        };
        let top = self.number(&format!("{field}[3]"), top);
        let (bottom, top) = (first?, top?);
        if bottom >= top {
            let text = format!("its lower bound is not below its upper one; {EXPECTED}");
            self.problems.add(field, text);
            return None;
        }
        let low = Interval::one_sided(operator, bottom);
        Some(low.and(&Interval::one_sided(second_operator, top)))
    }

    fn number(&mut self, field: &str, value: &Value) -> Option<Decimal> {
        match value.as_f64() {
            Some(number) => self.problems.check(field, Decimal::exact(number)),
            None => {
                self.problems.add(field, "must be a number");
                None
            }
        }
    }

    /// A text as values are compared with it. Amazon SNS compares attributes in an escaped form: policies must escape
    /// quotation marks and backslashes once more ("Filter policy constraints"), or they match nothing.
    fn text(&mut self, field: &str, text: &str) -> Option<String> {
        if self.scope == FilterPolicyScope::MessageBody {
            return Some(text.to_owned());
        }
        let mut plain = String::with_capacity(text.len());
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            let character = match character {
                '\\' => characters.next().filter(|next| ['"', '\\'].contains(next)),
                '"' => None,
                other => Some(other),
            };
            let Some(character) = character else {
                let text = r#"holds a quotation mark or backslash that Amazon SNS would not find in an attribute; write \" for " and \\ for \"#;
                self.problems.add(field, text);
                return None;
            };
            plain.push(character);
        }
        Some(plain)
    }

    /// The one member of an object that is an operator.
    fn only<'v>(
        &mut self,
        field: &str,
        operators: &'v Map<String, Value>,
        expected: &str,
    ) -> Option<(&'v str, &'v Value)> {
        let mut members = operators.iter();
        match (members.next(), members.next()) {
            (Some((operator, operand)), None) => Some((operator.as_str(), operand)),
            _ => {
                let text = format!("must hold one operator: {expected}");
                self.problems.add(field, text);
                None
            }
        }
    }
}

/// The objects of a `$or` that is one: elsewhere it is a name like any other ("AND/OR logic").
fn alternatives<'v>(name: &str, value: &'v Value) -> Option<Vec<&'v Map<String, Value>>> {
    let list = value
        .as_array()
        .filter(|list| name == "$or" && list.len() >= 2)?;
    let plain = |object: &&Map<String, Value>| {
        let reserved = |name: &String| RESERVED.contains(&name.as_str());
        !object.keys().any(reserved)
    };
    let object = |value: &'v Value| value.as_object().filter(plain);
    list.iter().map(object).collect()
}

/// All of them, if all are there. Each is made all the same, so that every problem is found.
fn whole<T>(parts: impl Iterator<Item = Option<T>>) -> Option<Vec<T>> {
    let parts: Vec<_> = parts.collect();
    parts.into_iter().collect()
}
