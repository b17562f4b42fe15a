//! Values as others write them: escaped, escaped again, in base 64, in lines.

use super::*;

const PEM: &str = "-----BEGIN KEY-----\nMIIabc+/defg\nhijklmnopq==\n-----END KEY-----\n";

/// `text` in lines of `width` letters.
fn wrapped(text: &str, width: usize, end: &str) -> String {
    let lines = text.as_bytes().chunks(width);
    let lines = lines.map(|line| String::from_utf8_lossy(line).into_owned());
    lines.collect::<Vec<_>>().join(end)
}

#[test]
fn a_value_is_found_however_it_is_escaped() {
    let basic = "???>>>???~~~";
    let coded = base64_of::STANDARD.encode(format!("user:{basic}"));
    assert_eq!(coded, "dXNlcjo/Pz8+Pj4/Pz9+fn4=");
    let crlf = PEM.replace('\n', "\r\n");
    let long = "0123456789".repeat(10);
    let long_coded = base64_of::STANDARD.encode(&long);
    let thrice = |text: &str| {
        let once = json!({ "you": text }).to_string().replace('+', "\\u002B");
        json!({ "a": json!({ "b": once }).to_string() }).to_string()
    };
    for (value, text, left) in [
        // .NET's System.Text.Json, Gson.
        (
            "abcd+efgh1234",
            r#"{"you":"abcd\u002Befgh1234"}"#.to_owned(),
            r#"{"you":"***"}"#,
        ),
        (
            "a'b\"c&d<e>f`g",
            r#"{"you":"a\u0027b\u0022c\u0026d\u003Ce\u003Ef\u0060g"}"#.to_owned(),
            r#"{"you":"***"}"#,
        ),
        (
            "qwertyZz==",
            r#"{"you":"qwertyZz\u003d\u003d"}"#.to_owned(),
            r#"{"you":"***"}"#,
        ),
        (
            "😀 and é",
            r#"{"you":"\uD83D\ude00 and \u00E9"}"#.to_owned(),
            r#"{"you":"***"}"#,
        ),
        (
            "abcd+efgh1234",
            thrice("abcd+efgh1234"),
            r#"{"a":"{\"b\":\"{\\\"you\\\":\\\"***\\\"}\"}"}"#,
        ),
        // Base 64 in what PHP writes, and in a query.
        (
            basic,
            format!("{{\"a\":\"Basic {}\"}}", coded.replace('/', "\\/")),
            r#"{"a":"Basic dXNlcj***="}"#,
        ),
        (
            basic,
            "?a=dXNlcjo%2FPz8%2BPj4%2FPz9%2Bfn4%3D&b=1".to_owned(),
            "?a=dXNlcj***%3D&b=1",
        ),
        (
            basic,
            "?a=dXNlcjo%252fPz8%252bPj4%252fPz9%252bfn4%253d&b=1".to_owned(),
            "?a=dXNlcj***%253d&b=1",
        ),
        // XML and HTML, by names and numbers.
        (
            "pa&ss<wo>rd\"'é",
            "<p>pa&amp;ss&lt;wo&gt;rd&quot;&apos;&eacute;</p>".to_owned(),
            "<p>***</p>",
        ),
        (
            "pa&ss<wo>rd\"'é",
            "<p>pa&#38;ss&#060;wo&#x3E;rd&#34;&#X27;&#xe9;</p>".to_owned(),
            "<p>***</p>",
        ),
        (
            "pa&ss<wo>rd",
            "<p>pa&amp;amp;ss&amp;lt;wo&amp;gt;rd</p>".to_owned(),
            "<p>***</p>",
        ),
        // Percent-encoded twice; in JSON; a blank in a form.
        (
            "a/b+c d\"efgh",
            "/x?a%252Fb%252Bc%2520d%2522efgh".to_owned(),
            "/x?***",
        ),
        (
            "a/b+c d\"efgh",
            r#"{"u":"a\/b%2bc+d\u0022efgh"}"#.to_owned(),
            r#"{"u":"***"}"#,
        ),
        (
            "a/b+c d\"efgh",
            "x=a%2Fb%2Bc+d%22efgh&y=1".to_owned(),
            "x=***&y=1",
        ),
        // A log of bytes that are not ASCII, a shell's quotation.
        (
            "clé d'or, €",
            r"cl\xC3\xA9 d\'or, \342\202\254!".to_owned(),
            "***!",
        ),
        // Line breaks of others, none, and those of a block.
        (PEM, format!("<{crlf}>"), "<***\r\n>"),
        (&crlf, format!("<{PEM}>"), "<***\n>"),
        (
            PEM,
            json!({ "pem": crlf }).to_string(),
            r#"{"pem":"***\r\n"}"#,
        ),
        (
            PEM,
            format!("pem: |\n  {}\nx: 1", PEM.trim().replace('\n', "\n  ")),
            "pem: |\n  ***\nx: 1",
        ),
        (PEM, PEM.replace('\n', ""), "***"),
        // Base 64 in lines: PEM's, MIME's, and these in JSON.
        (
            &long,
            format!("a:\n{}\n", wrapped(&long_coded, 64, "\n")),
            "a:\n***==\n",
        ),
        (
            &long,
            format!("a:\r\n {}\r\n", wrapped(&long_coded, 76, "\r\n ")),
            "a:\r\n ***==\r\n",
        ),
        (
            &long,
            json!({ "a": wrapped(&long_coded, 76, "\r\n") }).to_string(),
            r#"{"a":"***=="}"#,
        ),
    ] {
        assert_eq!(masked(&[value], &text), left, "{text}");
        assert_eq!(masked(&["another value", value], &text), left, "{text}");
    }
}

#[test]
fn what_is_left_is_what_it_was() {
    for (value, text, left) in [
        // The value seems to begin, or to end, in the midst of an escape.
        (
            "nsecretsecret",
            r#"{"a":"x\nsecretsecret"}"#,
            r#"{"a":"x***"}"#,
        ),
        (
            r"secretsecret\",
            r#"{"a":"secretsecret\"x"}"#,
            r#"{"a":"***x"}"#,
        ),
        (
            "nsecretsecret",
            r#"{"a":"{\"b\":\"\\nsecretsecret\"}"}"#,
            r#"{"a":"{\"b\":\"***\"}"}"#,
        ),
        ("1secretsecret", "/x%41secretsecret", "/x***"),
        ("p;secretsecret", "<b>&amp;secretsecret</b>", "<b>***</b>"),
        // JSON stays JSON where a number is one, and a part of its structure.
        (
            "12345678",
            r#"{"pin": 12345678, "b": ["12345678", 1]}"#,
            r#"{"b":["***",1],"pin":"***"}"#,
        ),
        (
            r#"{"type":"account"}"#,
            r#"{"a":{"type":"account"}}"#,
            r#""***""#,
        ),
        // What is no JSON is not made some.
        ("12345678", "{ pin = 12345678 }", "{ pin = *** }"),
        ("12345678", "12345678", "***"),
        // Far from all that is escaped.
        (
            "secretsecret",
            r#"{"a":"\u002b","b":"secretsecret","c":"\u002b"}"#,
            r#"{"a":"\u002b","b":"***","c":"\u002b"}"#,
        ),
    ] {
        assert_eq!(masked(&[value], text), left, "{text}");
    }
}

/// A way to write a text in another one.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Json,
    Percent,
    Form,
    Entity,
    /// Each character in one of these ways.
    Mixed,
}

/// `text` written so; `chance` says what is escaped that need not be.
fn write(kind: Kind, text: &str, chance: &mut dyn Iterator<Item = u8>) -> String {
    let mut written = String::new();
    for c in text.chars() {
        let chance = chance.next().unwrap();
        let kind = match (kind, c) {
            (Kind::Mixed, '\\') => Kind::Json,
            (Kind::Mixed, '%') => Kind::Percent,
            (Kind::Mixed, '&') => Kind::Entity,
            (Kind::Mixed, _) => [Kind::Json, Kind::Percent, Kind::Entity][usize::from(chance) % 3],
            _ => kind,
        };
        let must = match kind {
            Kind::Json => matches!(c, '"' | '\\' | '\0'..='\x1f'),
            Kind::Percent => c == '%',
            Kind::Form => matches!(c, '%' | '+'),
            _ => c == '&',
        };
        match kind {
            Kind::Form if c == ' ' => written.push_str(["+", "%20"][usize::from(chance & 1)]),
            _ if !must && chance & 8 > 0 => written.push(c),
            Kind::Json if c == '/' => written.push_str("\\/"),
            Kind::Json if must && chance & 1 > 0 => written.push_str(&inner_json(c)),
            Kind::Json => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    written.push_str(&match chance & 1 {
                        0 => format!("\\u{unit:04x}"),
                        _ => format!("\\u{unit:04X}"),
                    });
                }
            }
            Kind::Percent | Kind::Form => {
                for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                    written.push_str(&match chance & 1 {
                        0 => format!("%{byte:02x}"),
                        _ => format!("%{byte:02X}"),
                    });
                }
            }
            _ => written.push_str(&match (c, chance & 3) {
                ('&', 0) => "&amp;".to_owned(),
                ('<', 0) => "&lt;".to_owned(),
                (_, 0 | 1) => format!("&#{};", u32::from(c)),
                (_, 2) => format!("&#x{:x};", u32::from(c)),
                _ => format!("&#x{:04X};", u32::from(c)),
            }),
        }
    }
    written
}

fn inner_json(c: char) -> String {
    let quoted = json!(c.to_string()).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// What `text` says when all of it was written so; none when it was not.
fn read(kind: Kind, text: &str) -> Option<String> {
    let mut read = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let json = matches!(kind, Kind::Json | Kind::Mixed);
        let percent = matches!(kind, Kind::Percent | Kind::Form | Kind::Mixed);
        let entity = matches!(kind, Kind::Entity | Kind::Mixed);
        let len = match c {
            '\\' if json => {
                let is_high = rest.get(..4).is_some_and(|mark| {
                    let mark = mark.to_ascii_lowercase();
                    ["\\ud8", "\\ud9", "\\uda", "\\udb"].contains(&mark.as_str())
                });
                let len = match rest.get(1..2)? {
                    "u" if is_high => 12,
                    "u" => 6,
                    _ => 2,
                };
                let quoted = format!("\"{}\"", rest.get(..len)?);
                let one: String = serde_json::from_str(&quoted).ok()?;
                read.extend_from_slice(one.as_bytes());
                len
            }
            '%' if percent => {
                read.push(u8::from_str_radix(rest.get(1..3)?, 16).ok()?);
                3
            }
            '+' if matches!(kind, Kind::Form) => {
                read.push(b' ');
                1
            }
            '&' if entity => {
                let len = rest.find(';')? + 1;
                let one = match &rest[1..len - 1] {
                    "amp" => '&',
                    "lt" => '<',
                    number => {
                        let number = number.strip_prefix('#')?;
                        let code = match number.strip_prefix('x') {
                            Some(hex) => u32::from_str_radix(hex, 16),
                            None => number.parse(),
                        };
                        char::from_u32(code.ok()?)?
                    }
                };
                read.extend_from_slice(one.encode_utf8(&mut [0; 4]).as_bytes());
                len
            }
            c => {
                read.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                c.len_utf8()
            }
        };
        rest = &rest[len..];
    }
    String::from_utf8(read).ok()
}

/// How often `value` stands in `text`, also where it overlaps itself.
fn count(text: &str, value: &str) -> usize {
    let starts = text.char_indices();
    let begins = |(at, _): &(usize, char)| text[*at..].starts_with(value);
    starts.filter(begins).count()
}

fn kind() -> impl Strategy<Value = Kind> {
    prop::sample::select(vec![
        Kind::Json,
        Kind::Percent,
        Kind::Form,
        Kind::Entity,
        Kind::Mixed,
    ])
}

/// Whether `left` is `whole` with one part of it hidden.
fn is_rest(left: &str, whole: &str) -> bool {
    left.char_indices().any(|(at, _)| {
        let rest = left[at..].strip_prefix(HIDDEN);
        rest.is_some_and(|rest| whole.starts_with(&left[..at]) && whole.ends_with(rest))
    })
}

/// Where the escapes of one reading end in the midst of those of another, and so on, there is no place to cut before the end. Each
/// step of that took as long as the whole text.
#[test]
fn escapes_that_overlap_take_time_as_the_text_is_long() {
    let value = "eyJhbGciOiJIUzI1NiJ9";
    let took = |count: usize| {
        let text = format!("%5C{}{value} and {value}", "\\".repeat(count));
        let masks = masks(&[value]);
        let times = (0..3).map(|_| {
            let started = std::time::Instant::now();
            let left = masks.text(&text).unwrap();
            assert!(!left.contains(value), "{count}: a value is left");
            started.elapsed()
        });
        times.min().unwrap()
    };
    let (short, long) = (took(8_000), took(32_000));
    // Four times as long a text. A second more is for whatever else runs here; by steps it took minutes.
    let most = short * 8 + std::time::Duration::from_secs(1);
    assert!(long < most, "{short:?}, {long:?}");
}

/// What is masked of such a chain is all of it, and nothing beside.
#[test]
fn a_chain_of_escapes_is_masked_to_its_ends() {
    let value = "eyJhbGciOiJIUzI1NiJ9";
    for (text, left) in [
        (format!(r"%5C\\\\{value}!"), "***!"),
        (format!(r"a\\{value}!"), "a***!"),
        (format!(r"a\\\{value} {value}\n"), r"a\\*** ***\n"),
    ] {
        assert_eq!(masked(&[value], &text), left, "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn no_writing_of_a_value_stays_and_what_is_left_reads_as_before(
        value in prop_oneof![
            "[^\0]{8,24}",
            "[ -~\r\né€😀]{8,40}",
            r#"[a-f0-9n%\\&#;+u"]{8,16}"#,
        ],
        before in r#"[ -~é\n]{0,12}"#,
        after in r#"[ -~é\n]{0,12}"#,
        kinds in prop::collection::vec(kind(), 1..=2),
        chance in prop::collection::vec(any::<u8>(), 1..60),
    ) {
        let trimmed = value.trim_matches([' ', '\t', '\n', '\x0c', '\r']);
        prop_assume!(trimmed.len() >= limits::SECRET_MIN_BYTES);
        let mut chance = chance.into_iter().cycle();
        let whole = format!("{before}{value}{after}");
        let mut text = whole.clone();
        for kind in &kinds {
            text = write(*kind, &text, &mut chance);
        }
        let mut left = masks(&[&value]).text(&text);
        prop_assert!(left.is_some(), "{:?} is not found", text);
        for kind in kinds.iter().rev() {
            let was = left.clone();
            left = read(*kind, left.as_deref().unwrap());
            prop_assert!(left.is_some(), "{:?} of {:?} cannot be read", was, text);
        }
        let left = left.unwrap();
        prop_assert!(!left.contains(trimmed), "{:?} is left of {:?}", left, text);
        if count(&whole, trimmed) == 1 {
            prop_assert!(is_rest(&left, &whole), "{:?} is left of {:?}", left, text);
        }
    }
}

proptest! {
    #[test]
    fn a_text_without_the_value_is_left_as_it_is(
        text in r#"([ -~é\n]|\\u00[0-9a-f]{2}|\\[nrt"/]|%[0-9A-F]{2}|&(amp|lt|#[0-9]{2});){0,60}"#,
    ) {
        prop_assert_eq!(masks(&["ЖЖЖЖЖЖ", "ЖЖ ЖЖ\nЖЖ"]).text(&text), None);
    }
}
