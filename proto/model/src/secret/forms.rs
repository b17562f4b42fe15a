//! How a value looks where it turns up again.

use std::ops::Range;

use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD, Encoding, HEXLOWER, HEXUPPER};
use memchr::memmem;
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, percent_encode};
use zeroize::Zeroizing;

use crate::limits;

/// What is encoded: all but RFC 3986's unreserved characters; what `encodeURIComponent` encodes; what a query and a path do
/// not hold (the URL Standard's percent-encode sets).
const STRICT: AsciiSet = NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');
const COMPONENT: AsciiSet = STRICT
    .remove(b'!')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*');
const QUERY: AsciiSet = CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'\'')
    .add(b'<')
    .add(b'>');
const PATH: AsciiSet = QUERY
    .remove(b'\'')
    .add(b'?')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'}');
/// application/x-www-form-urlencoded, but for the blank.
const FORM: AsciiSet = STRICT.add(b'~').remove(b'*').remove(b' ');

/// One way in which a value may be written.
pub(super) struct Form {
    needle: Zeroizing<Vec<u8>>,
    /// Whether the letters beside it hold some of its bits, and others.
    shares_before: bool,
    shares_after: bool,
}

impl Form {
    fn whole(text: impl Into<Vec<u8>>) -> Self {
        Self {
            needle: Zeroizing::new(text.into()),
            shares_before: false,
            shares_after: false,
        }
    }

    /// Where it stands in `text`.
    pub(super) fn find<'a>(&'a self, text: &'a [u8]) -> impl Iterator<Item = Range<usize>> + 'a {
        memmem::find_iter(text, self.needle.as_slice()).map(move |start| {
            let end = start + self.needle.len();
            let is_letter = |at: usize| text.get(at).is_some_and(|b| is_base64(*b));
            let before = self.shares_before && start > 0 && is_letter(start - 1);
            let after = self.shares_after && is_letter(end);
            start - usize::from(before)..end + usize::from(after)
        })
    }
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_')
}

/// The forms of `value`; none of one that is too short to be told from chance. White space around it is left out: it is left
/// out on the way (a header's value is sent without), and what holds the value with it holds it without.
pub(super) fn of(value: &[u8]) -> Vec<Form> {
    let value = value.trim_ascii();
    if value.len() < limits::SECRET_MIN_BYTES {
        return Vec::new();
    }
    let mut forms = Vec::new();
    // A body that is no UTF-8 is recorded with replacement characters.
    let text = Zeroizing::new(String::from_utf8_lossy(value).into_owned());
    forms.push(Form::whole(text.as_bytes()));
    forms.push(Form::whole(value));
    forms.extend(json(&text).map(Form::whole));
    forms.extend(percent(value).map(Form::whole));
    for encoding in [&BASE64_NOPAD, &BASE64URL_NOPAD] {
        forms.extend((0..3).map(|offset| base64(encoding, value, offset)));
    }
    forms.extend([&HEXLOWER, &HEXUPPER].map(|encoding| Form::whole(encoding.encode(value))));
    forms.retain(|form| form.needle.len() >= limits::SECRET_MIN_BYTES);
    let mut kept: Vec<Form> = Vec::with_capacity(forms.len());
    for form in forms {
        if !kept.iter().any(|other| other.needle == form.needle) {
            kept.push(form);
        }
    }
    kept
}

/// As JSON writers escape it: none, one or the other of what they may escape beyond what they must; and JSON within JSON.
fn json(text: &str) -> impl Iterator<Item = String> {
    let escaped = escape(text);
    let twice = escape(&escaped);
    let more = [
        (false, false, false),
        (true, false, false),
        (false, true, false),
        (false, false, true),
        (true, false, true),
        (false, true, true),
    ];
    let of = move |(slash, html, unicode)| {
        let mut all = String::new();
        for c in escaped.chars() {
            let escape = match c {
                '/' if slash => {
                    all.push_str("\\/");
                    continue;
                }
                '<' | '>' | '&' => html,
                _ => unicode && !c.is_ascii(),
            };
            if escape {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    all.push_str(&format!("\\u{unit:04x}"));
                }
            } else {
                all.push(c);
            }
        }
        all
    };
    more.into_iter().map(of).chain([twice])
}

/// `text` within the quotes of JSON.
fn escape(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

fn percent(value: &[u8]) -> impl Iterator<Item = String> {
    let upper = [NON_ALPHANUMERIC, &STRICT, &COMPONENT, &QUERY, &PATH]
        .map(|set| percent_encode(value, set).to_string())
        .into_iter()
        .chain([percent_encode(value, &FORM).to_string().replace(' ', "+")]);
    upper.flat_map(|text| [lower_hex(&text), text])
}

/// The same with lower-case hexadecimal digits.
fn lower_hex(text: &str) -> String {
    let mut digits = 0;
    let lower = text.chars().map(|c| {
        if c == '%' {
            digits = 2;
            return c;
        }
        let is_digit = digits > 0;
        digits = i32::max(digits - 1, 0);
        if is_digit { c.to_ascii_lowercase() } else { c }
    });
    lower.collect()
}

/// What of the base 64 of a longer text does not depend on what stands around `value`, which begins `offset` bytes after a
/// whole group.
fn base64(encoding: &Encoding, value: &[u8], offset: usize) -> Form {
    let mut padded = Zeroizing::new(vec![0; offset]);
    padded.extend_from_slice(value);
    let text = Zeroizing::new(encoding.encode(&padded));
    let from = [0, 2, 3][offset];
    let to = padded.len() * 8 / 6;
    Form {
        needle: Zeroizing::new(text.as_bytes()[from..to].to_vec()),
        shares_before: offset > 0,
        shares_after: !padded.len().is_multiple_of(3),
    }
}
