//! What fails with every event, found by evaluating it.

use super::*;

#[test]
fn what_always_fails_is_found_by_its_evaluation() {
    for (source, part, why) in [
        ("timestamp('nonsense')", "timestamp('nonsense')", ""),
        (
            "event.json.n + duration('1x').getHours()",
            "duration('1x').getHours()",
            "",
        ),
        (
            "timestamp(event.timestamp).getHours('Europe/Berlni')",
            "timestamp(event.timestamp).getHours('Europe/Berlni')",
            "",
        ),
        (
            "timestamp(event.timestamp).format('%Q')",
            "timestamp(event.timestamp).format('%Q')",
            "no strftime format",
        ),
        (
            "timestamp(event.timestamp).format('%d', 'Europe/Berlni')",
            "timestamp(event.timestamp).format('%d', 'Europe/Berlni')",
            "no time zone",
        ),
        ("'%d'.format(['a'])", "'%d'.format(['a'])", ""),
        (
            "regex.extract(event.message, '(a)(b)').value()",
            "regex.extract(event.message, '(a)(b)')",
            "more than one capturing group",
        ),
        (
            r"regex.replace(event.message, '(a)', r'\2')",
            r"regex.replace(event.message, '(a)', '\2')",
            "names group 2",
        ),
        ("hex.decode('xyz')", "hex.decode('xyz')", ""),
        ("[event.message, json.parse('{')]", "json.parse('{')", ""),
        ("{'a': 1}.b", "{…}.b", ""),
        ("{'a': [1, 2][5]}", "{…}", ""),
        ("event.json.n == 1 / 0", "1 / 0", ""),
        ("[1, 2].map(n, n / 0)", "…", ""),
        ("(1 / 0 > 1) ? event.message : ''", "1 / 0 > 1", ""),
        // Larger than what a node compiles, or `Regex::new`.
        (
            r"event.message.matches(r'^[\w.+-]{1,64}@[\w.-]{1,255}$')",
            r"event.message.matches('^[\w.+-]{1,64}@[\w.-]{1,255}$')",
            "exceeds size limit",
        ),
        (
            r"event.message.matches(r'\pL{5000}')",
            r"event.message.matches('\pL{5000}')",
            "exceeds size limit",
        ),
        (
            r"regex.extractAll(event.message, r'\w{5000}')",
            r"regex.extractAll(event.message, '\w{5000}')",
            "exceeds size limit",
        ),
    ] {
        let found = Expression::parse(source).unwrap().failing();
        let found: Vec<_> = found.iter().map(ToString::to_string).collect();
        let begin = format!("{part} always fails: ");
        assert!(
            matches!(&found[..], [one] if one.starts_with(&begin) && one.contains(why)),
            "{source}: {found:?}"
        );
    }
}

#[test]
fn what_may_not_be_evaluated_or_may_work_is_not_told() {
    for source in [
        "event.json.n > 1 ? 1 / 0 : 2",
        "event.json.n > 1 || 1 / 0 > 1",
        "1 / 0 > 1 || event.json.n > 1",
        "event.json.n > 1 && timestamp('nonsense') > timestamp(0)",
        "event.json.list.map(n, n / 0)",
        "has({'a': 1}.b) && event.json.on",
        "true || 1 / 0 > 1",
        "{'a': 1}.?b.orValue(2)",
        "event.message.matches(event.json.pattern)",
        r"event.message.matches(r'^[\w.+-]{1,64}@[\w.-]{1,64}$')",
        "regex.replace(event.message, '(a)', event.json.by)",
        "timestamp(event.timestamp).format(event.json.format, 'UTC')",
        "timestamp(event.timestamp).getHours('+02:00')",
        "time.parse(event.message, '%Y')",
        "math.greatest(1, 2) + size(event.message)",
        "'%s'.format([event.message])",
        "item.x + 1",
        "secrets.a + 'b'",
        // More than the budget is enough for.
        "lists.range(1000000).map(n, lists.range(1000000)).size() > 1",
    ] {
        let found = Expression::parse(source).unwrap().failing();
        assert_eq!(found, [], "{source}");
    }
}
