//! Where the expressions of a template end.

use super::*;
use crate::limits;

#[test]
fn an_expression_ends_outside_of_its_texts_and_braces() {
    for (source, expected) in [
        ("${{ '}}' }}", json!("}}")),
        ("${{ \"}}\" + '}}' }}!", json!("}}}}!")),
        ("${{ 'it\\'s }}' }}", json!("it's }}")),
        ("${{ r'\\' + '}}' }}", json!("\\}}")),
        ("${{ '''a'}}''' }}", json!("a'}}")),
        ("${{ \"\"\"a\"}}\\\"\"\"\" }}", json!("a\"}}\"")),
        ("${{ br'}}\\'.size() }}", json!(3)),
        ("${{ bR\"}}\\\".size() }}", json!(3)),
        ("${{ {'a': {'b': 1}}.a.b }}", json!(1)),
        ("${{ {'a': {'b': 1}}}}", json!({"a": {"b": 1}})),
        ("${{ {}}}", json!({})),
        ("${{ {'a': {'b': 1} } }}}}", json!("{\"a\":{\"b\":1}}}}")),
        ("${{ 1 }}}}", json!("1}}")),
        ("${{ 1 // one, isn't it }} and ${{ 2 }}", json!("1 and 2")),
        ("${{ 1 + // }}\n 2 }}", json!(3)),
        ("${{ [1, // '\n 2].size() }}", json!(2)),
        ("it's ${{ 1 }}, isn't it", json!("it's 1, isn't it")),
        ("${{ 'ä}}' }}ö", json!("ä}}ö")),
    ] {
        let template = Template::parse(source);
        let template = template.unwrap_or_else(|error| panic!("{source}: {error}"));
        assert_eq!(template.render(&scope()).unwrap(), expected, "{source}");
    }
    for (source, expected) in [
        ("${{ 'a }}", "${{ 'a }} is not a CEL expression"),
        ("${{ {'a': 1 }}", "${{ {'a': 1 }} is not a CEL expression"),
        ("${{ 1 + }} }}", "${{ 1 + }} is not a CEL expression"),
        ("${{ '}}'", "${{ ' }} is not a CEL expression"),
        ("${{ 'a'", "has \"${{\" without \"}}\""),
    ] {
        let error = Template::parse(source).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{source}: {error}");
    }
}

#[test]
fn templates_are_shown_as_they_were_written() {
    for source in [
        "",
        "plain",
        "${{ event.message }}",
        "a ${{ 1 }} b $${{ no }} ${{ {'a': {'b': '}}'}} }}!",
    ] {
        let template = Template::parse(source).unwrap();
        assert_eq!(template.source(), source);
        let again = Template::parse(&template.source()).unwrap();
        assert_eq!(
            again.render(&scope()).unwrap(),
            template.render(&scope()).unwrap()
        );
    }
    let written = json!({"a": ["${{ 1 }}", null, 2], "b": {"c": "$${{"}});
    assert_eq!(JsonTemplate::parse(&written).unwrap().shown(), written);
    let long = json!({ "a": "x".repeat(limits::SHOWN_MAX_BYTES) });
    let shown = JsonTemplate::parse(&long).unwrap().shown();
    let shown = shown.as_str().unwrap();
    assert!(shown.starts_with("{\"a\":\"xxx") && shown.ends_with("x…"));
    assert_eq!(shown.chars().count(), limits::SHOWN_MAX_BYTES + 1);
}

/// Each close that was tried was a parse of all before it.
#[test]
fn many_closes_take_no_longer_than_their_text() {
    let started = std::time::Instant::now();
    let closes = "}}".repeat(8_000);
    let template = Template::parse(&format!("${{{{ '{closes}' }}}}")).unwrap();
    assert_eq!(template.render(&scope()).unwrap(), json!(closes));
    for wrong in [
        format!("${{{{ 1 + {closes}"),
        format!("${{{{ {}{closes}", "{".repeat(100)),
        format!("${{{{ '{closes}"),
        format!("${{{{ 1 + {}", "// }}\n".repeat(2_000)),
    ] {
        assert!(Template::parse(&wrong).is_err());
    }
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}

proptest::proptest! {
    /// The lexer finds what trying each close finds.
    #[test]
    fn the_end_is_the_first_that_makes_it_parse(
        parts in proptest::collection::vec(proptest::sample::select(vec![
            "'", "\"", "'''", "\"\"\"", "r", "b", "\\", "{", "}", "}}", "1", "a", " ", ":", "+", "//", "\n", "[", "]", ",",
        ]), 0..14)
    ) {
        let text = parts.concat();
        // Those that overlap, too: `{}}}`.
        let mut closes = (0..text.len()).filter(|end| text[*end..].starts_with("}}"));
        let tried = closes.find_map(|end| {
            let parsed = Expression::parse(text[..end].trim()).ok()?;
            Some(parsed.source().to_owned())
        });
        let found = Template::parse(&format!("${{{{{text}")).ok().map(|_| ());
        // What follows may hold no other expression, so the template is right when this one is.
        proptest::prop_assert_eq!(found.is_some(), tried.is_some(), "{:?}", text);
        if let Some(tried) = tried {
            let first = crate::expression::closes::ends(&text)
                .find_map(|end| Expression::parse(text[..end].trim()).ok())
                .unwrap();
            proptest::prop_assert_eq!(first.source(), tried);
        }
    }
}
