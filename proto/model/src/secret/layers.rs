//! A text, and the texts that are written in it.
//!
//! What a server sends back it may have escaped, and what quotes its answer may have escaped that again. So a text is read as it
//! is, as what its escapes stand for, and as what the escapes in that stand for; each place in what was read is known in the text
//! itself. Only what stands near escapes is read: the rest is the same in all.

use std::{borrow::Cow, ops::Range};

use super::escapes::{Escape, Syntax, next_break};

/// How often escapes are read in what escapes stood for, whatever they are; and where they are of every kind at once.
const LAYERS: usize = 2;
const LAYERS_OF_ANY: usize = 3;

/// How texts are read.
pub(super) struct Reading {
    /// How far from an escape something may begin that it belongs to, in bytes of what is read.
    pub(super) reach: usize,
    /// Whether `+` may be a blank.
    pub(super) blanks: bool,
    /// Whether all line breaks are left out, and not only those in base 64.
    pub(super) lines: bool,
}

/// A part of a text: of the one at hand, or of one that is written in it.
pub(super) struct Piece<'a> {
    above: Option<&'a Piece<'a>>,
    /// Where it begins and ends in the piece above.
    span: Range<usize>,
    pub(super) text: Cow<'a, [u8]>,
    /// What stands otherwise in the piece above, in order.
    escapes: Vec<Read>,
}

/// An escape that was read.
struct Read {
    /// Where what it stands for begins, and how long that is.
    at: usize,
    len: usize,
    /// Where it stands in the piece above.
    above: Range<usize>,
}

impl Reading {
    /// Visits `text`, and each piece of each text in it that may be another one.
    pub(super) fn visit(&self, text: &[u8], visit: &mut dyn FnMut(&Piece<'_>)) {
        let whole = Piece {
            above: None,
            span: 0..text.len(),
            text: Cow::Borrowed(text),
            escapes: Vec::new(),
        };
        self.visit_in(&whole, 0, true, visit);
    }

    /// Visits `piece`, which stands `depth` layers deep, and what is written in it.
    fn visit_in(
        &self,
        piece: &Piece<'_>,
        depth: usize,
        only_any: bool,
        visit: &mut dyn FnMut(&Piece<'_>),
    ) {
        visit(piece);
        let next = |text: &[u8], from| next_break(text, from, self.lines);
        self.read(piece, next, &mut |joined| visit(&joined));
        // Where several kinds stand in one text, a mark of one may stand before an escape of another, and is none itself: so each
        // is read alone, too.
        let one = [Syntax::Backslash, Syntax::Percent, Syntax::Entity];
        let form = self.blanks.then_some(Syntax::Form);
        for syntax in [Syntax::Any].into_iter().chain(one).chain(form) {
            let is_any = syntax == Syntax::Any;
            let layers = if is_any && only_any {
                LAYERS_OF_ANY
            } else {
                LAYERS
            };
            if depth >= layers {
                continue;
            }
            let next = |text: &[u8], from| syntax.next(text, from);
            self.read(piece, next, &mut |inner| {
                let is_known =
                    !is_any && syntax.agrees(Syntax::Any, &piece.text[inner.span.clone()]);
                if !is_known {
                    self.visit_in(&inner, depth + 1, only_any && is_any, visit);
                }
            });
        }
    }

    /// Reads `above` where `next` finds escapes, each with what is within reach.
    fn read<'a>(
        &self,
        above: &'a Piece<'a>,
        next: impl Fn(&[u8], usize) -> Option<Escape>,
        each: &mut dyn FnMut(Piece<'a>),
    ) {
        let text: &'a [u8] = &above.text;
        let mut open: Option<Piece<'a>> = None;
        let mut read_to = 0;
        while let Some(escape) = next(text, read_to) {
            let start = escape.range.start;
            let is_near = start - read_to <= self.reach.saturating_mul(2);
            let mut piece = match open.take() {
                Some(mut piece) if is_near => {
                    piece.text.to_mut().extend_from_slice(&text[read_to..start]);
                    piece
                }
                before => {
                    if let Some(before) = before {
                        each(before.closed(text, read_to, self.reach));
                    }
                    let from = start.saturating_sub(self.reach).max(read_to);
                    Piece {
                        above: Some(above),
                        span: from..from,
                        text: Cow::Owned(text[from..start].to_vec()),
                        escapes: Vec::new(),
                    }
                }
            };
            let meaning = escape.meaning.as_bytes();
            piece.escapes.push(Read {
                at: piece.text.len(),
                len: meaning.len(),
                above: escape.range.clone(),
            });
            piece.text.to_mut().extend_from_slice(meaning);
            read_to = escape.range.end;
            open = Some(piece);
        }
        if let Some(piece) = open {
            each(piece.closed(text, read_to, self.reach));
        }
    }
}

impl Piece<'_> {
    /// This, with what is in reach behind its last escape, which ends at `read_to`.
    fn closed(mut self, above: &[u8], read_to: usize, reach: usize) -> Self {
        let end = read_to.saturating_add(reach).min(above.len());
        self.text.to_mut().extend_from_slice(&above[read_to..end]);
        self.span.end = end;
        self
    }

    /// Where `range` of it, which is not empty, stands in the whole text: with all of the escapes that it holds a part of.
    pub(super) fn in_whole(&self, range: Range<usize>) -> Range<usize> {
        let (mut piece, mut range) = (self, range);
        while let Some(above) = piece.above {
            let last = range.end.saturating_sub(1);
            let start = match piece.escape_before(range.start) {
                Some(escape) if range.start < escape.at + escape.len => escape.above.start,
                Some(escape) => escape.above.end + (range.start - escape.at - escape.len),
                None => piece.span.start + range.start,
            };
            let end = match piece.escape_before(last) {
                Some(escape) if last < escape.at + escape.len => escape.above.end,
                Some(escape) => escape.above.end + (last - escape.at - escape.len) + 1,
                None => piece.span.start + last + 1,
            };
            (piece, range) = (above, start..end);
        }
        range
    }

    /// The last escape that stands for something at or before `at`.
    fn escape_before(&self, at: usize) -> Option<&Read> {
        let count = self.escapes.partition_point(|escape| escape.at <= at);
        self.escapes[..count].last()
    }

    /// Where its escapes stand in the whole text; none of the whole text itself.
    pub(super) fn escapes_in_whole(&self) -> impl Iterator<Item = Range<usize>> {
        let above = self.above.into_iter();
        above.flat_map(|above| {
            let escapes = self.escapes.iter();
            escapes.map(|escape| above.in_whole(escape.above.clone()))
        })
    }
}
