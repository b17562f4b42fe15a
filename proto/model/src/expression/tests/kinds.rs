//! The lists of what functions and operators take, against the interpreter: whatever works for some value of a kind must be
//! listed, and what is listed must work for some. So a definition is refused for its kinds only when it could not run.

use std::collections::BTreeSet;

use ::cel::{
    Context, IdedExpr, Value as CelValue,
    common::{
        types::{
            CelBool, CelBytes, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelOptional,
            CelString, CelType, CelUInt,
        },
        value::Val,
    },
};

use super::super::{
    budget,
    cel::ENV,
    kinds::Kinds,
    operations,
    signatures::{self, Signature},
    with_parser_stack,
};

const ALONE: [Kinds; 13] = [
    Kinds::NULL,
    Kinds::BOOL,
    Kinds::INT,
    Kinds::UINT,
    Kinds::DOUBLE,
    Kinds::STRING,
    Kinds::BYTES,
    Kinds::LIST,
    Kinds::MAP,
    Kinds::TIMESTAMP,
    Kinds::DURATION,
    Kinds::TYPE,
    Kinds::OPTIONAL,
];

fn parse(source: &str) -> IdedExpr {
    with_parser_stack(|| ENV.compile(source).unwrap().expression().clone())
}

fn value_of(source: &str) -> Box<dyn Val> {
    let expr = parse(source);
    let context = Context::with_env(ENV.clone());
    let value = CelValue::resolve_val(&expr, &context).unwrap();
    value.as_ref().clone_as_boxed()
}

/// Values of a kind, chosen so that each function works for one of them.
fn samples(kind: Kinds) -> Vec<Box<dyn Val>> {
    let text = |text: &str| -> Box<dyn Val> { Box::new(CelString::from(text.to_owned())) };
    match kind {
        Kinds::NULL => vec![Box::new(CelNull)],
        Kinds::BOOL => vec![Box::new(CelBool::from(true))],
        Kinds::INT => vec![Box::new(CelInt::from(1)), Box::new(CelInt::from(0))],
        Kinds::UINT => vec![
            Box::new(CelUInt::from(1_u64)),
            Box::new(CelUInt::from(0_u64)),
        ],
        Kinds::DOUBLE => vec![Box::new(CelDouble::from(1.0))],
        Kinds::STRING => vec![
            text("10"),
            text("true"),
            text("1s"),
            text("2026-11-24T10:00:00Z"),
            text("%Y"),
            text("%+"),
            text("UTC"),
        ],
        Kinds::BYTES => vec![Box::new(CelBytes::from(b"ab".to_vec()))],
        Kinds::LIST => vec![
            Box::new(CelList::from(Vec::<Box<dyn Val>>::new())),
            Box::new(CelList::from(vec![text("a"), text("b")])),
        ],
        Kinds::MAP => {
            let mut members = std::collections::HashMap::new();
            for key in [
                CelMapKey::from("10"),
                CelMapKey::from(true),
                CelMapKey::from(1_i64),
            ] {
                members.insert(key, text("a"));
            }
            vec![Box::new(CelMap::from(members))]
        }
        Kinds::TIMESTAMP => vec![value_of("timestamp('2026-11-24T10:00:00Z')")],
        Kinds::DURATION => vec![value_of("duration('1s')")],
        Kinds::TYPE => vec![Box::new(CelType::new("int"))],
        Kinds::OPTIONAL => vec![Box::new(CelOptional::of(text("a")))],
        other => panic!("{other}"),
    }
}

fn kind_of(value: &dyn Val) -> Kinds {
    match value.get_type().name() {
        "null_type" => Kinds::NULL,
        "bool" => Kinds::BOOL,
        "int" => Kinds::INT,
        "uint" => Kinds::UINT,
        "double" => Kinds::DOUBLE,
        "string" => Kinds::STRING,
        "bytes" => Kinds::BYTES,
        "list" => Kinds::LIST,
        "map" => Kinds::MAP,
        "google.protobuf.Timestamp" => Kinds::TIMESTAMP,
        "google.protobuf.Duration" => Kinds::DURATION,
        "type" => Kinds::TYPE,
        "optional_type" => Kinds::OPTIONAL,
        other => panic!("{other}"),
    }
}

/// What `expr` gives for values of these kinds as `v0`, `v1` and so on, all of their samples tried.
fn works(expr: &IdedExpr, kinds: &[Kinds]) -> Vec<Kinds> {
    let mut gives = Vec::new();
    let all: Vec<Vec<Box<dyn Val>>> = kinds.iter().map(|kind| samples(*kind)).collect();
    let mut chosen = vec![0; kinds.len()];
    loop {
        let mut context = Context::with_env(ENV.clone());
        for (index, place) in chosen.iter().enumerate() {
            let value = all[index][*place].clone_as_boxed();
            context.add_variable_as_val(format!("v{index}"), value);
        }
        let result = budget::within(|| {
            CelValue::resolve_val(expr, &context).map(|value| kind_of(value.as_ref()))
        });
        if let Ok(Ok(kind)) = result {
            gives.push(kind);
        }
        let mut index = 0;
        loop {
            if index == chosen.len() {
                return gives;
            }
            chosen[index] += 1;
            if chosen[index] < all[index].len() {
                break;
            }
            chosen[index] = 0;
            index += 1;
        }
    }
}

/// All lists of so many kinds.
fn combinations(count: usize) -> Vec<Vec<Kinds>> {
    (0..count).fold(vec![Vec::new()], |lists, _| {
        let longer = |list: Vec<Kinds>| {
            ALONE
                .iter()
                .map(move |kind| [list.clone(), vec![*kind]].concat())
        };
        lists.into_iter().flat_map(longer).collect()
    })
}

fn takes(signature: &Signature, kinds: &[Kinds]) -> bool {
    let listed = signature.target.iter().chain(signature.args);
    listed.clone().count() == kinds.len()
        && listed.zip(kinds).all(|(takes, kind)| takes.meets(*kind))
}

fn check_function(name: &str, is_member: bool, arguments: usize, wrong: &mut Vec<String>) {
    let count = arguments + usize::from(is_member);
    let variables: Vec<_> = (0..count).map(|index| format!("v{index}")).collect();
    let source = if is_member {
        format!("v0.{name}({})", variables[1..].join(", "))
    } else {
        format!("{name}({})", variables.join(", "))
    };
    let expr = parse(&source);
    let listed: Vec<_> = signatures::of(name, is_member)
        .filter(|signature| signature.args.len() == arguments)
        .collect();
    // With many arguments only what is listed is tried: there are too many others.
    let lists: Vec<_> = combinations(count)
        .into_iter()
        .filter(|kinds| count < 3 || listed.iter().any(|signature| takes(signature, kinds)))
        .collect();
    for kinds in lists {
        let expected = listed
            .iter()
            .filter(|signature| takes(signature, &kinds))
            .fold(Kinds::NONE, |all, signature| all.or(signature.gives));
        let gives = works(&expr, &kinds);
        let shown: Vec<_> = kinds.iter().map(ToString::to_string).collect();
        if (expected == Kinds::NONE) != gives.is_empty() {
            wrong.push(format!(
                "{source} of {shown:?}: {expected}, {}",
                gives.len()
            ));
        }
        for kind in gives {
            if expected != Kinds::NONE && !expected.meets(kind) {
                wrong.push(format!("{source} of {shown:?} gives {kind}"));
            }
        }
    }
}

#[test]
fn functions_take_and_give_what_is_listed() {
    let names: BTreeSet<_> = signatures::names()
        .filter(|name| !signatures::MACROS.contains(name))
        .collect();
    let mut wrong = Vec::new();
    assert!(names.len() > 80, "{}", names.len());
    for name in names {
        for is_member in [false, true] {
            if is_member && name.contains('.') {
                continue;
            }
            for arguments in 0..=4 {
                let is_listed = signatures::of(name, is_member)
                    .any(|signature| signature.args.len() == arguments);
                // Two arguments more than a function takes are no news.
                if is_listed || arguments <= 1 {
                    check_function(name, is_member, arguments, &mut wrong);
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn operators_take_and_give_what_is_listed() {
    let mut wrong = Vec::new();
    for sign in [
        "+", "-", "*", "/", "%", "<", "<=", ">", ">=", "==", "!=", "&&", "||", "in", "[]",
    ] {
        let source = if sign == "[]" {
            "v0[v1]".to_owned()
        } else {
            format!("v0 {sign} v1")
        };
        let expr = parse(&source);
        let ::cel::common::ast::Expr::Call(call) = &expr.expr else {
            panic!("{source}");
        };
        let (written, rows) = operations::binary(&call.func_name).unwrap();
        assert_eq!(written, sign);
        for kinds in combinations(2) {
            let expected = operations::result(rows, kinds[0], kinds[1]);
            let gives = works(&expr, &kinds);
            let shown = format!("{} {sign} {}", kinds[0], kinds[1]);
            // `true || 1` is true, which nobody means.
            let is_logical = matches!(sign, "&&" | "||");
            if (expected == Kinds::NONE) != gives.is_empty() && !is_logical {
                wrong.push(format!("{shown}: {expected}, {}", gives.len()));
            }
            for kind in gives {
                if expected != Kinds::NONE && !expected.meets(kind) {
                    wrong.push(format!("{shown} gives {kind}"));
                }
            }
        }
    }
    for (source, operator) in [("!v0", "!_"), ("-v0", "-_")] {
        let expr = parse(source);
        let (_, takes) = operations::unary(operator).unwrap();
        for kind in ALONE {
            if takes.meets(kind) == works(&expr, &[kind]).is_empty() {
                wrong.push(format!("{operator} {kind}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_guide_names_every_function() {
    let guide = include_str!("../../../../../docs/workflows.md");
    for name in signatures::names() {
        let short = name.rsplit('.').next().unwrap();
        let is_named = ["`", ".", " ", "="].iter().any(|before| {
            ["`", "("]
                .iter()
                .any(|after| guide.contains(&format!("{before}{short}{after}")))
        });
        assert!(is_named, "{name}");
    }
}
