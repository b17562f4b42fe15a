//! What CEL's operators take and give. A test holds this against what the interpreter does.

use cel::common::ast::operators;

use super::kinds::Kinds;

type Rows = &'static [(Kinds, Kinds, Kinds)];

const BOOL: Kinds = Kinds::BOOL;
const INT: Kinds = Kinds::INT;
const UINT: Kinds = Kinds::UINT;
const DOUBLE: Kinds = Kinds::DOUBLE;
const STRING: Kinds = Kinds::STRING;
const BYTES: Kinds = Kinds::BYTES;
const LIST: Kinds = Kinds::LIST;
const TIMESTAMP: Kinds = Kinds::TIMESTAMP;
const DURATION: Kinds = Kinds::DURATION;

const ADD: Rows = &[
    (INT, INT, INT),
    (UINT, UINT, UINT),
    (DOUBLE, DOUBLE, DOUBLE),
    (STRING, STRING, STRING),
    (BYTES, BYTES, BYTES),
    // The interpreter takes a map's keys for a list.
    (LIST, LIST.or(Kinds::MAP), LIST),
    (TIMESTAMP, DURATION, TIMESTAMP),
    (DURATION, TIMESTAMP, TIMESTAMP),
    (DURATION, DURATION, DURATION),
];
const SUBTRACT: Rows = &[
    (INT, INT, INT),
    (UINT, UINT, UINT),
    (DOUBLE, DOUBLE, DOUBLE),
    (TIMESTAMP, TIMESTAMP, DURATION),
    (TIMESTAMP, DURATION, TIMESTAMP),
    (DURATION, DURATION, DURATION),
];
const SCALE: Rows = &[
    (INT, INT, INT),
    (UINT, UINT, UINT),
    (DOUBLE, DOUBLE, DOUBLE),
];
const MODULO: Rows = &[(INT, INT, INT), (UINT, UINT, UINT)];
const COMPARE: Rows = &[
    (BOOL, BOOL, BOOL),
    (Kinds::NUMBER, Kinds::NUMBER, BOOL),
    (STRING, STRING, BOOL),
    (BYTES, BYTES, BOOL),
    (TIMESTAMP, TIMESTAMP, BOOL),
    (DURATION, DURATION, BOOL),
];
const LOGICAL: Rows = &[(BOOL, BOOL, BOOL)];
/// Values that differ in kind are unequal, which is no error.
const EQUAL: Rows = &[(Kinds::ANY, Kinds::ANY, BOOL)];
const KEY: Kinds = BOOL.or(Kinds::NUMBER).or(STRING);
const IN: Rows = &[(Kinds::ANY, LIST, BOOL), (KEY, Kinds::MAP, BOOL)];
const INDEX: Rows = &[
    (LIST, Kinds::NUMBER, Kinds::ANY),
    (Kinds::MAP, KEY, Kinds::ANY),
    (Kinds::OPTIONAL, Kinds::ANY, Kinds::OPTIONAL),
];

/// An operator between two values: how it is written, what it takes and gives.
pub(super) fn binary(operator: &str) -> Option<(&'static str, Rows)> {
    Some(match operator {
        operators::ADD => ("+", ADD),
        operators::SUBSTRACT => ("-", SUBTRACT),
        operators::MULTIPLY => ("*", SCALE),
        operators::DIVIDE => ("/", SCALE),
        operators::MODULO => ("%", MODULO),
        operators::LESS => ("<", COMPARE),
        operators::LESS_EQUALS => ("<=", COMPARE),
        operators::GREATER => (">", COMPARE),
        operators::GREATER_EQUALS => (">=", COMPARE),
        operators::EQUALS => ("==", EQUAL),
        operators::NOT_EQUALS => ("!=", EQUAL),
        operators::LOGICAL_AND => ("&&", LOGICAL),
        operators::LOGICAL_OR => ("||", LOGICAL),
        operators::IN => ("in", IN),
        operators::INDEX => ("[]", INDEX),
        _ => return None,
    })
}

/// An operator before one value, likewise.
pub(super) fn unary(operator: &str) -> Option<(&'static str, Kinds)> {
    match operator {
        operators::LOGICAL_NOT => Some(("!", BOOL)),
        operators::NEGATE => Some(("-", INT.or(DOUBLE))),
        _ => None,
    }
}

/// What an operator gives for such values: nothing where it always fails.
pub(super) fn result(rows: Rows, left: Kinds, right: Kinds) -> Kinds {
    rows.iter()
        .filter(|(a, b, _)| a.meets(left) && b.meets(right))
        .fold(Kinds::NONE, |all, (_, _, gives)| all.or(*gives))
}
