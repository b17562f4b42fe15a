//! How a value looks where it turns up again, whatever is escaped of it.

use std::ops::Range;

use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD, Encoding, HEXLOWER, HEXUPPER};
use memchr::memmem;
use zeroize::Zeroizing;

use super::{
    escapes::{is_base64, next_break},
    layers::Reading,
};
use crate::limits;

/// What may matter beside a value, in bytes: a letter of base 64, and an escape in which it seems to begin.
const BESIDE_MAX_BYTES: usize = 32;
/// Places of a text that one number tells of.
const PLACES_PER_WORD: usize = 64;

/// The ways in which one value may be written.
pub(super) struct Forms {
    forms: Vec<Form>,
    /// How texts are to be read so that they are found.
    reading: Reading,
}

/// One way in which a value may be written.
struct Form {
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
    fn find<'a>(&'a self, text: &'a [u8]) -> impl Iterator<Item = Range<usize>> + 'a {
        memmem::find_iter(text, self.needle.as_slice()).map(move |start| {
            let end = start + self.needle.len();
            let is_letter = |at: usize| text.get(at).is_some_and(|b| is_base64(*b));
            let before = self.shares_before && start > 0 && is_letter(start - 1);
            let after = self.shares_after && is_letter(end);
            start - usize::from(before)..end + usize::from(after)
        })
    }
}

impl Forms {
    /// The forms of `value`; none of one that is too short to be told from chance. White space around it is left out: it is left
    /// out on the way (a header's value is sent without), and what holds the value with it holds it without.
    pub(super) fn of(value: &[u8]) -> Self {
        let value = value.trim_ascii();
        let mut forms = Vec::new();
        if value.len() >= limits::SECRET_MIN_BYTES {
            // A body that is no UTF-8 is recorded with replacement characters.
            forms.push(Form::whole(String::from_utf8_lossy(value).as_bytes()));
            forms.push(Form::whole(value));
            forms.push(Form::whole(in_one_line(value).as_slice()));
            for encoding in [&BASE64_NOPAD, &BASE64URL_NOPAD] {
                forms.extend((0..3).map(|offset| base64(encoding, value, offset)));
            }
            let base16 = [&HEXLOWER, &HEXUPPER];
            forms.extend(base16.map(|encoding| Form::whole(encoding.encode(value))));
        }
        let mut kept: Vec<Form> = Vec::with_capacity(forms.len());
        for form in forms {
            let is_known = kept.iter().any(|other| other.needle == form.needle);
            if form.needle.len() >= limits::SECRET_MIN_BYTES && !is_known {
                kept.push(form);
            }
        }
        let longest = kept.iter().map(|form| form.needle.len()).max();
        Self {
            forms: kept,
            reading: Reading {
                reach: longest.unwrap_or_default() + BESIDE_MAX_BYTES,
                blanks: value.contains(&b' '),
                lines: next_break(value, 0, true).is_some(),
            },
        }
    }
}

/// Where values stand in `text` in one of their `forms`, in order, none within another. What is in a range can be taken out
/// without taking a part of an escape.
pub(super) fn find(text: &[u8], forms: &[&Forms]) -> Vec<Range<usize>> {
    let searches = forms.iter().any(|forms| !forms.forms.is_empty());
    if !searches || text.len() < limits::SECRET_MIN_BYTES {
        return Vec::new();
    }
    let readings = || forms.iter().map(|forms| &forms.reading);
    let reading = Reading {
        reach: readings().map(|reading| reading.reach).max().unwrap_or(0),
        blanks: readings().any(|reading| reading.blanks),
        lines: readings().any(|reading| reading.lines),
    };
    let mut found = Vec::new();
    reading.visit(text, &mut |piece| {
        for form in forms.iter().flat_map(|forms| &forms.forms) {
            let ranges = form.find(&piece.text);
            found.extend(ranges.map(|range| piece.in_whole(range)));
        }
    });
    if found.is_empty() {
        return found;
    }
    merge(&mut found);
    Within::of(text, &reading).around(found)
}

/// The places of a text that are in the midst of an escape, whichever way it is read. An escape of one reading may end in the
/// midst of one of another, and that again, for as long as the text is: from here, the way out of all of them is one look at each
/// place.
struct Within(Vec<u64>);

impl Within {
    fn of(text: &[u8], reading: &Reading) -> Self {
        let mut within = Self(vec![0; text.len() / PLACES_PER_WORD + 1]);
        reading.visit(text, &mut |piece| {
            for escape in piece.escapes_in_whole() {
                for at in escape.start + 1..escape.end {
                    within.0[at / PLACES_PER_WORD] |= 1 << (at % PLACES_PER_WORD);
                }
            }
        });
        within
    }

    fn holds(&self, at: usize) -> bool {
        let word = self.0.get(at / PLACES_PER_WORD);
        word.is_some_and(|word| word >> (at % PLACES_PER_WORD) & 1 == 1)
    }

    /// `ranges`, which are in order, each with all of the escapes that it holds a part of. No place is looked at twice.
    fn around(&self, ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
        let mut widened: Vec<Range<usize>> = Vec::with_capacity(ranges.len());
        for Range { mut start, mut end } in ranges {
            let before = widened.last_mut();
            let done = before.as_ref().map_or(0, |before| before.end);
            if end <= done {
                continue;
            }
            while self.holds(end) {
                end += 1;
            }
            // What ends at `done` goes no further: it is in the midst of none.
            while start > done && self.holds(start) {
                start -= 1;
            }
            match before {
                Some(before) if start < done => before.end = end,
                _ => widened.push(start..end),
            }
        }
        widened
    }
}

/// Puts ranges in order, and makes one of those that overlap.
fn merge(ranges: &mut Vec<Range<usize>>) {
    ranges.sort_unstable_by_key(|range| range.start);
    ranges.dedup_by(|range, before| {
        let overlaps = range.start < before.end;
        if overlaps {
            before.end = before.end.max(range.end);
        }
        overlaps
    });
}

/// `value` without its line breaks, and the blanks behind them.
fn in_one_line(value: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut joined = Zeroizing::new(Vec::with_capacity(value.len()));
    let mut at = 0;
    while let Some(found) = next_break(value, at, true) {
        joined.extend_from_slice(&value[at..found.range.start]);
        at = found.range.end;
    }
    joined.extend_from_slice(&value[at..]);
    joined
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
