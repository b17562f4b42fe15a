//! Where an expression within a text may end.

use memchr::memmem;

/// The places in `text`, which begins within an expression, of each `}}` that may close it: those outside of its texts and
/// braces, as CEL's lexer has them. Only the first one can, but for those in comments (`//` to the end of the line): of each
/// the first is given, too, since it closes what is complete before the comment.
pub(super) fn ends(text: &str) -> impl Iterator<Item = usize> {
    let mut lexer = Lexer {
        text: text.as_bytes(),
        at: 0,
        braces: 0,
        is_closed: false,
    };
    std::iter::from_fn(move || lexer.next_end())
}

struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    /// Braces that are open.
    braces: usize,
    /// One was found that nothing after it can replace.
    is_closed: bool,
}

impl Lexer<'_> {
    fn next_end(&mut self) -> Option<usize> {
        while !self.is_closed {
            let at = self.at;
            let rest = self.text.get(at..)?;
            match rest {
                [] => return None,
                [quote @ (b'\'' | b'"'), ..] => self.at = self.text_end(*quote),
                [b'/', b'/', ..] => {
                    let line = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
                    self.at = at + line;
                    if self.braces == 0
                        && let Some(end) = memmem::find(&rest[..line], b"}}")
                    {
                        return Some(at + end);
                    }
                }
                [b'}', b'}', ..] if self.braces == 0 => {
                    self.is_closed = true;
                    return Some(at);
                }
                [b'{', ..] => self.step(self.braces + 1),
                [b'}', ..] => self.step(self.braces.saturating_sub(1)),
                _ => self.step(self.braces),
            }
        }
        None
    }

    fn step(&mut self, braces: usize) {
        self.at += 1;
        self.braces = braces;
    }

    /// Behind the text that begins at the quote here, or the end of all where it does not end.
    fn text_end(&self, quote: u8) -> usize {
        // `r'…'` and `br'…'`, in either case.
        let is_raw = matches!(self.text[..self.at].last(), Some(b'r' | b'R'));
        let triple = [quote; 3];
        let end: &[u8] = if self.text[self.at..].starts_with(&triple) {
            &triple
        } else {
            &triple[..1]
        };
        let mut at = self.at + end.len();
        while let Some(rest) = self.text.get(at..).filter(|rest| !rest.is_empty()) {
            if rest.starts_with(end) {
                return at + end.len();
            }
            at += if rest[0] == b'\\' && !is_raw { 2 } else { 1 };
        }
        self.text.len()
    }
}
