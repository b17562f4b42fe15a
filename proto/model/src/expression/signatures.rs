//! The functions that expressions may call, with what they take and give: those of CEL's standard library, of its
//! extensions, and ours ([`super::functions`]). A test holds this list against what the interpreter does.

use cel::common::ast::{CallExpr, Expr};

use super::kinds::Kinds;

const ANY: Kinds = Kinds::ANY;
const BOOL: Kinds = Kinds::BOOL;
const INT: Kinds = Kinds::INT;
const UINT: Kinds = Kinds::UINT;
const DOUBLE: Kinds = Kinds::DOUBLE;
const NUMBER: Kinds = Kinds::NUMBER;
const STRING: Kinds = Kinds::STRING;
const BYTES: Kinds = Kinds::BYTES;
const TEXT: Kinds = STRING.or(BYTES);
const LIST: Kinds = Kinds::LIST;
const TIMESTAMP: Kinds = Kinds::TIMESTAMP;
const DURATION: Kinds = Kinds::DURATION;
const OPTIONAL: Kinds = Kinds::OPTIONAL;
const SIZED: Kinds = TEXT.or(LIST).or(Kinds::MAP);

/// One way to call a function.
pub(super) struct Signature {
    /// With its namespace: `math.abs`.
    pub(super) name: &'static str,
    /// What it is called on, `target.name(…)`.
    pub(super) target: Option<Kinds>,
    pub(super) args: &'static [Kinds],
    pub(super) gives: Kinds,
}

const fn call(name: &'static str, args: &'static [Kinds], gives: Kinds) -> Signature {
    Signature {
        name,
        target: None,
        args,
        gives,
    }
}

const fn member(
    name: &'static str,
    target: Kinds,
    args: &'static [Kinds],
    gives: Kinds,
) -> Signature {
    Signature {
        name,
        target: Some(target),
        args,
        gives,
    }
}

#[rustfmt::skip]
static SIGNATURES: &[Signature] = &[
    // Conversions.
    call("bool", &[BOOL.or(STRING)], BOOL),
    call("bytes", &[TEXT], BYTES),
    call("double", &[NUMBER.or(STRING)], DOUBLE),
    call("duration", &[STRING.or(DURATION)], DURATION),
    call("dyn", &[ANY], ANY),
    call("int", &[NUMBER.or(STRING).or(TIMESTAMP)], INT),
    call("string", &[NUMBER.or(TEXT).or(BOOL).or(TIMESTAMP).or(DURATION)], STRING),
    call("timestamp", &[STRING.or(INT).or(TIMESTAMP)], TIMESTAMP),
    call("type", &[ANY], Kinds::TYPE),
    call("uint", &[NUMBER.or(STRING)], UINT),
    // Sizes and texts.
    call("size", &[SIZED], INT),
    member("size", SIZED, &[], INT),
    member("contains", STRING, &[STRING], BOOL),
    member("endsWith", STRING, &[STRING], BOOL),
    member("startsWith", STRING, &[STRING], BOOL),
    call("matches", &[STRING, STRING], BOOL),
    member("matches", STRING, &[STRING], BOOL),
    member("charAt", STRING, &[INT], STRING),
    member("format", STRING, &[LIST], STRING),
    member("indexOf", STRING, &[STRING], INT),
    member("indexOf", STRING, &[STRING, INT], INT),
    member("join", LIST, &[], STRING),
    member("join", LIST, &[STRING], STRING),
    member("lastIndexOf", STRING, &[STRING], INT),
    member("lastIndexOf", STRING, &[STRING, INT], INT),
    member("lowerAscii", STRING, &[], STRING),
    member("replace", STRING, &[STRING, STRING], STRING),
    member("replace", STRING, &[STRING, STRING, INT], STRING),
    member("reverse", STRING, &[], STRING),
    member("split", STRING, &[STRING], LIST),
    member("split", STRING, &[STRING, INT], LIST),
    member("substring", STRING, &[INT], STRING),
    member("substring", STRING, &[INT, INT], STRING),
    member("trim", STRING, &[], STRING),
    member("upperAscii", STRING, &[], STRING),
    call("strings.quote", &[STRING], STRING),
    // Lists.
    member("distinct", LIST, &[], LIST),
    member("flatten", LIST, &[], LIST),
    member("flatten", LIST, &[INT], LIST),
    member("reverse", LIST, &[], LIST),
    member("slice", LIST, &[INT, INT], LIST),
    member("sort", LIST, &[], LIST),
    call("lists.range", &[INT], LIST),
    // Optionals.
    member("hasValue", OPTIONAL, &[], BOOL),
    member("or", OPTIONAL, &[ANY], OPTIONAL),
    member("orValue", OPTIONAL, &[ANY], ANY),
    member("value", OPTIONAL, &[], ANY),
    call("optional.none", &[], OPTIONAL),
    call("optional.of", &[ANY], OPTIONAL),
    call("optional.ofNonZeroValue", &[ANY], OPTIONAL),
    // Numbers.
    call("math.abs", &[INT], INT),
    call("math.abs", &[UINT], UINT),
    call("math.abs", &[DOUBLE], DOUBLE),
    call("math.bitAnd", &[INT, INT], INT),
    call("math.bitAnd", &[UINT, UINT], UINT),
    call("math.bitNot", &[INT], INT),
    call("math.bitNot", &[UINT], UINT),
    call("math.bitOr", &[INT, INT], INT),
    call("math.bitOr", &[UINT, UINT], UINT),
    call("math.bitShiftLeft", &[INT, INT], INT),
    call("math.bitShiftLeft", &[UINT, INT], UINT),
    call("math.bitShiftRight", &[INT, INT], INT),
    call("math.bitShiftRight", &[UINT, INT], UINT),
    call("math.bitXor", &[INT, INT], INT),
    call("math.bitXor", &[UINT, UINT], UINT),
    call("math.ceil", &[DOUBLE], DOUBLE),
    call("math.floor", &[DOUBLE], DOUBLE),
    call("math.isFinite", &[DOUBLE], BOOL),
    call("math.isInf", &[DOUBLE], BOOL),
    call("math.isNaN", &[DOUBLE], BOOL),
    call("math.round", &[DOUBLE], DOUBLE),
    call("math.sign", &[INT], INT),
    call("math.sign", &[UINT], UINT),
    call("math.sign", &[DOUBLE], DOUBLE),
    call("math.sqrt", &[NUMBER], DOUBLE),
    call("math.trunc", &[DOUBLE], DOUBLE),
    // Times.
    member("format", TIMESTAMP, &[STRING], STRING),
    member("format", TIMESTAMP, &[STRING, STRING], STRING),
    member("getDate", TIMESTAMP, &[], INT),
    member("getDate", TIMESTAMP, &[STRING], INT),
    member("getDayOfMonth", TIMESTAMP, &[], INT),
    member("getDayOfMonth", TIMESTAMP, &[STRING], INT),
    member("getDayOfWeek", TIMESTAMP, &[], INT),
    member("getDayOfWeek", TIMESTAMP, &[STRING], INT),
    member("getDayOfYear", TIMESTAMP, &[], INT),
    member("getDayOfYear", TIMESTAMP, &[STRING], INT),
    member("getFullYear", TIMESTAMP, &[], INT),
    member("getFullYear", TIMESTAMP, &[STRING], INT),
    member("getHours", TIMESTAMP.or(DURATION), &[], INT),
    member("getHours", TIMESTAMP, &[STRING], INT),
    member("getMilliseconds", TIMESTAMP.or(DURATION), &[], INT),
    member("getMilliseconds", TIMESTAMP, &[STRING], INT),
    member("getMinutes", TIMESTAMP.or(DURATION), &[], INT),
    member("getMinutes", TIMESTAMP, &[STRING], INT),
    member("getMonth", TIMESTAMP, &[], INT),
    member("getMonth", TIMESTAMP, &[STRING], INT),
    member("getSeconds", TIMESTAMP.or(DURATION), &[], INT),
    member("getSeconds", TIMESTAMP, &[STRING], INT),
    call("time.parse", &[STRING, STRING], TIMESTAMP),
    // Encodings and digests.
    call("base64.decode", &[STRING], BYTES),
    call("base64.encode", &[BYTES], STRING),
    call("hash.hmacSha256", &[TEXT, TEXT], BYTES),
    call("hash.md5", &[TEXT], BYTES),
    call("hash.sha1", &[TEXT], BYTES),
    call("hash.sha256", &[TEXT], BYTES),
    call("hash.sha512", &[TEXT], BYTES),
    call("hex.decode", &[STRING], BYTES),
    call("hex.encode", &[TEXT], STRING),
    call("json.encode", &[ANY], STRING),
    call("json.parse", &[STRING], ANY),
    call("url.decode", &[STRING], STRING),
    call("url.encode", &[STRING], STRING),
    // Regular expressions.
    call("regex.extract", &[STRING, STRING], OPTIONAL),
    call("regex.extractAll", &[STRING, STRING], LIST),
    call("regex.replace", &[STRING, STRING, STRING], STRING),
    call("regex.replace", &[STRING, STRING, STRING, INT], STRING),
];

/// What the macros of CEL and its extensions are called, which are gone from a syntax tree.
pub(super) const MACROS: [&str; 12] = [
    "all",
    "exists",
    "existsOne",
    "exists_one",
    "filter",
    "has",
    "map",
    "math.greatest",
    "math.least",
    "optFlatMap",
    "optMap",
    "sortBy",
];

/// The ways to call the function of this name: on something (`is_member`), or not.
pub(super) fn of(name: &str, is_member: bool) -> impl Iterator<Item = &'static Signature> {
    named(name).filter(move |signature| signature.target.is_some() == is_member)
}

/// All ways to call the function of this name.
pub(super) fn named(name: &str) -> impl Iterator<Item = &'static Signature> {
    SIGNATURES
        .iter()
        .filter(move |signature| signature.name == name)
}

/// All names, macros included.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    SIGNATURES
        .iter()
        .map(|signature| signature.name)
        .chain(MACROS)
}

/// Whether functions stand in this namespace: `math`.
pub(super) fn is_namespace(name: &str) -> bool {
    SIGNATURES
        .iter()
        .filter_map(|signature| signature.name.split_once('.'))
        .any(|(namespace, _)| namespace == name)
}

/// The function that `call` names together with what stands before its dot, such as `math.abs`: the interpreter takes that
/// for a function even where a variable has the namespace's name.
pub(super) fn qualified(call: &CallExpr) -> Option<String> {
    let Expr::Ident(namespace) = &call.target.as_deref()?.expr else {
        return None;
    };
    let name = format!("{namespace}.{}", call.func_name);
    let is_known = of(&name, false).next().is_some();
    is_known.then_some(name)
}
