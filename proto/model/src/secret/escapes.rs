//! How texts write characters that they cannot, or would rather not, write as they are.

use std::ops::Range;

use super::entities;

/// An escape, or something else that is read as another text.
pub(super) struct Escape {
    /// Where it stands.
    pub(super) range: Range<usize>,
    /// What it stands for, in UTF-8, or one byte.
    pub(super) meaning: Meaning,
}

/// A few bytes.
#[derive(Clone, Copy, Default)]
pub(super) struct Meaning {
    bytes: [u8; 4],
    len: u8,
}

impl Meaning {
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    fn byte(byte: u8) -> Self {
        Self {
            bytes: [byte, 0, 0, 0],
            len: 1,
        }
    }

    /// The character with this number; the one that says that there is none.
    fn character(code: u32) -> Self {
        let mut bytes = [0; 4];
        let c = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
        let len = c.encode_utf8(&mut bytes).len();
        // At most 4.
        let len = u8::try_from(len).unwrap_or_default();
        Self { bytes, len }
    }
}

/// Which characters are escaped, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Syntax {
    /// `\n`, `\"`, `\u002F` (RFC 8259 §7), and what other languages have beside them: `\x2f`, `\u{2f}`, `\U0000002f`, `\057`.
    Backslash,
    /// `%2F` (RFC 3986 §2.1), and `%u002F`.
    Percent,
    /// The same, and `+` for a blank (application/x-www-form-urlencoded).
    Form,
    /// `&sol;`, `&#47;`, `&#x2F;` (XML 1.0 §4.1, HTML).
    Entity,
    /// All but the `+`.
    Any,
}

impl Syntax {
    /// The first escape at or after `from`.
    pub(super) fn next(self, text: &[u8], mut from: usize) -> Option<Escape> {
        loop {
            let rest = text.get(from..)?;
            let start = from + self.start(rest)?;
            if let Some((len, meaning)) = escape(&text[start..]) {
                let range = start..start + len;
                return Some(Escape { range, meaning });
            }
            from = start + 1;
        }
    }

    /// Where a character stands that begins its escapes.
    fn start(self, text: &[u8]) -> Option<usize> {
        match self {
            Self::Backslash => memchr::memchr(b'\\', text),
            Self::Percent => memchr::memchr(b'%', text),
            Self::Form => memchr::memchr2(b'%', b'+', text),
            Self::Entity => memchr::memchr(b'&', text),
            Self::Any => memchr::memchr3(b'\\', b'%', b'&', text),
        }
    }

    /// Whether `text` has the same escapes for `other`.
    pub(super) fn agrees(self, other: Self, text: &[u8]) -> bool {
        let ranges = |syntax: Self| {
            let mut from = 0;
            std::iter::from_fn(move || {
                let range = syntax.next(text, from)?.range;
                from = range.end;
                Some(range)
            })
        };
        ranges(self).eq(ranges(other))
    }
}

/// The escape that `text` begins with, if it does: how long it is, and what it stands for.
fn escape(text: &[u8]) -> Option<(usize, Meaning)> {
    match text.first()? {
        b'\\' => backslash(text),
        b'%' => percent(text),
        b'+' => Some((1, Meaning::byte(b' '))),
        b'&' => entity(text),
        _ => None,
    }
}

fn backslash(text: &[u8]) -> Option<(usize, Meaning)> {
    let control = |byte| Some((2, Meaning::byte(byte)));
    match *text.get(1)? {
        b'u' if text.get(2) == Some(&b'{') => {
            let (code, digits) = number(&text[3..], 16, 8)?;
            let ends = text.get(3 + digits) == Some(&b'}');
            ends.then(|| (4 + digits, Meaning::character(code)))
        }
        b'u' => utf16(text, b"\\u"),
        b'U' => Some((10, Meaning::character(hex(text.get(2..10)?)?))),
        b'x' => Some((4, Meaning::byte(byte(hex(text.get(2..4)?)?)?))),
        b'0'..=b'3' if octal(text).is_some() => Some((4, Meaning::byte(octal(text)?))),
        b'0' => control(0),
        b'a' => control(7),
        b'b' => control(8),
        b't' => control(b'\t'),
        b'n' => control(b'\n'),
        b'v' => control(11),
        b'f' => control(12),
        b'r' => control(b'\r'),
        b'e' => control(27),
        // These two begin escapes of others.
        b'%' | b'&' => None,
        escaped @ (b' ' | b'!'..=b'/' | b':'..=b'@' | b'['..=b'`' | b'{'..=b'~') => {
            control(escaped)
        }
        _ => None,
    }
}

fn octal(text: &[u8]) -> Option<u8> {
    let digits = std::str::from_utf8(text.get(1..4)?).ok()?;
    let is_octal = digits.bytes().all(|b| matches!(b, b'0'..=b'7'));
    is_octal.then(|| u8::from_str_radix(digits, 8).ok())?
}

fn percent(text: &[u8]) -> Option<(usize, Meaning)> {
    match hex(text.get(1..3)?) {
        Some(code) => Some((3, Meaning::byte(byte(code)?))),
        None => utf16(text, b"%u"),
    }
}

/// One code unit behind `mark`, or two that are one character.
fn utf16(text: &[u8], mark: &[u8; 2]) -> Option<(usize, Meaning)> {
    let unit = |text: &[u8]| {
        let digits = text.strip_prefix(mark)?.get(..4)?;
        hex(digits)
    };
    let high = unit(text)?;
    if (0xd800..0xdc00).contains(&high)
        && let Some(low) = unit(&text[6..]).filter(|low| (0xdc00..0xe000).contains(low))
    {
        let code = 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00);
        return Some((12, Meaning::character(code)));
    }
    Some((6, Meaning::character(high)))
}

/// Of those by number, some leave out the semicolon.
fn entity(text: &[u8]) -> Option<(usize, Meaning)> {
    if text.get(1) == Some(&b'#') {
        let (digits_at, base) = match text.get(2)? {
            b'x' | b'X' => (3, 16),
            _ => (2, 10),
        };
        let (code, digits) = number(&text[digits_at..], base, 10)?;
        let end = digits_at + digits;
        let ends = text.get(end) == Some(&b';');
        return Some((end + usize::from(ends), Meaning::character(code)));
    }
    let rest = &text[1..text.len().min(entities::NAME_MAX_BYTES + 2)];
    let len = rest.iter().position(|b| !b.is_ascii_alphanumeric())?;
    let named = entities::named(&rest[..len]).filter(|_| rest[len] == b';')?;
    Some((len + 2, Meaning::character(named.into())))
}

/// The number that `text` begins with, and how many digits it has, of at most `max`.
fn number(text: &[u8], base: u32, max: usize) -> Option<(u32, usize)> {
    let digits = text.iter().map_while(|b| char::from(*b).to_digit(base));
    let mut number = 0_u32;
    let mut len = 0;
    for digit in digits.take(max) {
        number = number.saturating_mul(base).saturating_add(digit);
        len += 1;
    }
    (len > 0).then_some((number, len))
}

/// The number that all of `digits` make.
fn hex(digits: &[u8]) -> Option<u32> {
    let (number, len) = number(digits, 16, 8)?;
    (len == digits.len()).then_some(number)
}

fn byte(code: u32) -> Option<u8> {
    u8::try_from(code).ok()
}

/// The first line break at or after `from` that is to be left out, with the blanks behind it: `all`, or those in base 64.
pub(super) fn next_break(text: &[u8], mut from: usize, all: bool) -> Option<Escape> {
    loop {
        let start = from + memchr::memchr2(b'\r', b'\n', text.get(from..)?)?;
        let blanks = text[start..].iter();
        let len = blanks.take_while(|b| b.is_ascii_whitespace()).count();
        let range = start..start + len;
        let is_letter = |at: usize| text.get(at).is_some_and(|b| is_base64(*b));
        if all || (start > 0 && is_letter(start - 1) && is_letter(range.end)) {
            let meaning = Meaning::default();
            return Some(Escape { range, meaning });
        }
        from = range.end;
    }
}

pub(super) fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    fn read(syntax: Syntax, text: &str) -> String {
        let (text, mut read, mut at) = (text.as_bytes(), Vec::new(), 0);
        while let Some(escape) = syntax.next(text, at) {
            read.extend_from_slice(&text[at..escape.range.start]);
            read.extend_from_slice(escape.meaning.as_bytes());
            at = escape.range.end;
        }
        read.extend_from_slice(&text[at..]);
        String::from_utf8(read).unwrap()
    }

    #[test]
    fn each_escape_is_read_and_nothing_else() {
        for (syntax, text, meaning) in [
            (
                Syntax::Backslash,
                r#"a\/b\"c\\d\u002Be\u002bf"#,
                r#"a/b"c\d+e+f"#,
            ),
            (Syntax::Backslash, r"\b\f\n\r\t", "\u{8}\u{c}\n\r\t"),
            (
                Syntax::Backslash,
                r"\ud83d\uDE00 \u00e9 \ud83d!",
                "😀 é \u{fffd}!",
            ),
            (
                Syntax::Backslash,
                r"\x2B\xc3\xa9\u{1f600}\U0001F600\303\251\0z",
                "+é😀😀é\0z",
            ),
            (
                Syntax::Backslash,
                r"\q \u12 \x1 \u{} \",
                r"\q \u12 \x1 \u{} \",
            ),
            (Syntax::Percent, "a%2Fb%2fc%c3%A9%u00e9+%", "a/b/céé+%"),
            (Syntax::Percent, "%2 %zz %%41 %u12", "%2 %zz %A %u12"),
            (Syntax::Form, "a+b%2Bc%20d", "a b+c d"),
            (
                Syntax::Entity,
                "&amp;&lt;&#43;&#x2b;&#X2B;&eacute;&#0043;&#43!",
                "&<+++é++!",
            ),
            (
                Syntax::Entity,
                "&&amp &none; &#; &#x; &#128512; &#xfffffff;",
                "&&amp &none; &#; &#x; 😀 \u{fffd}",
            ),
            (Syntax::Any, r"\u0041%42&#67;\%44\&#69;+", r"ABC\D\E+"),
        ] {
            assert_eq!(read(syntax, text), meaning, "{text}");
        }
    }

    #[test]
    fn line_breaks_are_found_within_base_64_or_everywhere() {
        let ranges = |text: &str, all| {
            let mut from = 0;
            let found = std::iter::from_fn(|| {
                let range = next_break(text.as_bytes(), from, all)?.range;
                from = range.end;
                Some((range.start, range.end))
            });
            found.collect::<Vec<_>>()
        };
        assert_eq!(ranges("ab\ncd\r\n  ef", false), [(2, 3), (5, 9)]);
        assert_eq!(ranges("{\n  \"a\": 1,\n}", false), []);
        assert_eq!(ranges("{\n  \"a\": 1,\n}", true), [(1, 4), (11, 12)]);
    }
}
