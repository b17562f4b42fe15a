//! What regular expressions take.

use super::*;
use crate::expression::budget;

#[test]
fn a_short_pattern_may_be_a_large_program_and_costs_as_much() {
    let scope = large();
    for greedy in [
        r"lists.range(1500).exists(i, 'x'.matches('\\pL{500}' + string(i)))",
        r"lists.range(1500).exists(i, matches('x', '\\pL{9}' + string(i)))",
        r"lists.range(1500).exists(i, regex.extract('x', '\\pL{9}' + string(i)).hasValue())",
        r"lists.range(1500).exists(i, regex.replace('x', '\\w{4}' + string(i), '') == 'y')",
        r"lists.range(1500).exists(i, regex.extractAll('x', '[^a]{99}' + string(i)) == ['y'])",
        r"lists.range(1500).exists(i, 'x'.matches('(?i)\\pL-' + string(i)))",
        // The same pattern is compiled once, but a search may be at many places at once.
        "lists.range(100).exists(i, event.message.matches('(?-u:[a-q][a-t]{2000}[u-z])'))",
        "lists.range(100).exists(i, event.message.matches('([a-q]|[a-t]){90}[u-z]'))",
        "lists.range(100).exists(i, regex.replace(event.message, '(a|b)(c|d){40}', '') == '')",
        // More patterns than are kept.
        r"lists.range(2000).exists(i, 'x'.matches('\\d\\d' + string(i % 20)))",
    ] {
        let started = std::time::Instant::now();
        let error = evaluate_with(40_000, greedy, &scope).unwrap_err();
        assert!(
            matches!(error, EvaluationError::TooExpensive { .. }),
            "{greedy}: {error}"
        );
        assert!(
            started.elapsed().as_secs() < 20,
            "{greedy}: {:?}",
            started.elapsed()
        );
    }
}

/// What people write is not as large as what they might.
#[test]
fn common_patterns_cost_little() {
    let ids = "id:4711, ".repeat(1_000);
    let scope = Scope::new(&json!({"message": ids}), &Value::Null, &Value::Null);
    for (fair, units) in [
        ("event.message.matches('^id')", 1_000),
        (r"event.message.matches('id:\\d+')", 2_000),
        (
            r"event.message.matches('(?i)[a-z0-9._%+-]+@[a-z0-9.-]+\\.[a-z]{2,}')",
            15_000,
        ),
        (r"event.message.matches('\\w+@\\w+')", 6_000),
        (r"regex.extract(event.message, 'id:(\\d+)').value()", 2_000),
        (
            r"regex.extractAll(event.message, 'id:(\\d+)').size()",
            200_000,
        ),
        (
            "lists.range(1000).filter(i, string(i).matches('^9[0-9]*$')).size()",
            20_000,
        ),
    ] {
        let expression = Expression::parse(fair).unwrap();
        let (value, spent) = budget::spent(|| expression.evaluate(&scope));
        assert!(value.is_ok(), "{fair}: {value:?}");
        assert!(spent < units, "{fair}: {spent} units");
    }
}

#[test]
fn a_pattern_is_compiled_once_in_an_evaluation() {
    let twice = |second: &str| {
        let source = format!("'a'.matches('\\\\w') && 'a'.matches({second})");
        let expression = Expression::parse(&source).unwrap();
        let (_, units) = budget::spent(|| expression.evaluate(&scope()).unwrap());
        units
    };
    let (same, other) = (twice("'\\\\w'"), twice("'\\\\w|b'"));
    assert!(other > same + 200, "{same}, {other}");
    // The next evaluation compiles it again: what one costs does not depend on those before it.
    assert_eq!(twice("'\\\\w'"), same);
    // Those of a template are one.
    let template = Template::parse(r"${{ 'a'.matches('\\w') }} ${{ 'b'.matches('\\w') }}").unwrap();
    let (_, units) = budget::spent(|| template.render(&scope()).unwrap());
    assert!(units < same + 50, "{units}, {same}");
}

#[test]
fn matches_is_what_it_was() {
    check("'foobar'.matches('^[a-z]*$')", json!(true));
    check("matches('foo1', '^[a-z]*$')", json!(false));
    check(
        "['a', 'b'].filter(x, x.matches('a') || x.matches('c'))",
        json!(["a"]),
    );
    check("{'abc': 1}.all(key, key.matches('^[a-c]+$'))", json!(true));
    for (broken, expected) in [
        ("'a'.matches(event.message + '(')", "unclosed group"),
        (
            "'a'.matches(event.message + '\\\\w{2000}')",
            "exceeds size limit",
        ),
        ("event.json.n.matches('a')", "'matches'"),
    ] {
        let error = evaluate(broken).unwrap_err().to_string();
        assert!(
            error.contains(expected) && !error.contains('@'),
            "{broken}: {error}"
        );
    }
}

/// What `Regex::new` takes: the interpreter's own `matches` took these.
#[test]
fn patterns_of_a_size_that_people_write_compile_within_the_budget() {
    let scope = Scope::new(
        &json!({"message": "jane.doe@example.com"}),
        &Value::Null,
        &Value::Null,
    );
    for (fair, expected) in [
        (
            r"event.message.matches(r'^[\w.+-]{1,64}@[\w.-]{1,128}$')",
            json!(true),
        ),
        (r"event.message.matches(r'^\w{1,64}$')", json!(false)),
        (r"matches('12', r'^\d{1,256}$')", json!(true)),
        (r"regex.extract('x', r'^(\w{1,128})$').value()", json!("x")),
        // Two in one.
        (
            r"'x'.matches(r'^\w{1,64}$') && 'y'.matches(r'^\w{1,65}$') && 'z'.matches(r'^\w{1,64}$')",
            json!(true),
        ),
    ] {
        let expression = Expression::parse(fair).unwrap();
        let (value, spent) = budget::spent(|| expression.evaluate(&scope));
        assert_eq!(value.unwrap(), expected, "{fair}");
        assert!(spent < 400_000, "{fair}: {spent} units");
    }
}
