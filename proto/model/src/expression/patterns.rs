//! The regular expressions of an evaluation: what they take, and those that it compiled already.
//!
//! A few characters may stand for a large program (`\pL{500}`), and a search may have to look at all of it for each byte of
//! a text. Both can be told from the syntax tree, before anything is compiled.

use std::{cell::RefCell, rc::Rc};

use regex::{Regex, RegexBuilder};
use regex_syntax::hir::{Class, Hir, HirKind};

/// Size of a compiled pattern, in bytes: what the interpreter's own `matches` takes, and `Regex::new`. `\w{640}` has about that.
const COMPILED_MAX_BYTES: usize = 10 * 1024 * 1024;
/// Size of the cache of each of its searches, in bytes.
const CACHE_MAX_BYTES: usize = 1024 * 1024;
/// States beyond which a pattern is larger than that for sure, and is given up at.
const STATES_MAX: usize = COMPILED_MAX_BYTES / 16;
/// Compiled patterns that an evaluation keeps, the latest ones, and their states, as many as the largest has.
const KEPT_MAX: usize = 8;
const KEPT_STATES_MAX: usize = STATES_MAX;
/// Ranges of a class of characters that take as long to look through as one more place does.
const RANGES_PER_PLACE: usize = 32;
/// Of those, how many stand at most where one byte is looked up.
const RANGES_LOOKED_THROUGH_MAX: usize = 64;
/// States that one range of characters takes, about; and those that reach beyond ASCII together, for the forms that UTF-8 has.
const STATES_PER_RANGE: usize = 2;
const STATES_BEYOND_ASCII: usize = 12;
/// Units of a pattern that was not there yet, and of one byte of it, which is parsed twice: it may be a class of all letters; or
/// of all letters whatever their case, which takes ten times as long.
const UNITS_PER_PATTERN: usize = 200;
const UNITS_PER_BYTE: usize = 20;
const UNITS_PER_BYTE_OF_ANY_CASE: usize = 200;
/// States that are compiled for a unit.
const STATES_PER_UNIT: usize = 2;
/// Places whose combinations are so few that a search remembers all of them: so many make it as long again. Each beyond does so
/// alone, since it may be looked at anew for each byte.
const FEW_PLACES: usize = 16;
const PLACES_PER_PASS: usize = 4;
/// Groups that make it as long again for each place, when they are asked for.
const GROUPS_PER_PASS: usize = 8;

thread_local! {
    /// Those of the evaluation on this thread, the latest last.
    static KEPT: RefCell<Vec<Rc<Pattern>>> = const { RefCell::new(Vec::new()) };
}

/// What parsing `pattern` takes, in units.
pub(super) fn parse_units(pattern: &str) -> usize {
    let is_any_case = pattern.match_indices("(?").any(|(at, open)| {
        let flags = &pattern[at + open.len()..];
        flags
            .bytes()
            .take_while(|flag| flag.is_ascii_alphabetic() || *flag == b'-')
            .any(|flag| flag == b'i')
    });
    let each = if is_any_case {
        UNITS_PER_BYTE_OF_ANY_CASE
    } else {
        UNITS_PER_BYTE
    };
    UNITS_PER_PATTERN + pattern.len().saturating_mul(each)
}

/// What a pattern takes, by its syntax.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Weight {
    /// Places in it that a search may be at, all at once: its characters, those in a repetition as often as it repeats.
    places: usize,
    /// States of its automaton, about.
    states: usize,
    /// Groups.
    groups: usize,
}

impl Weight {
    const EMPTY: Self = Self {
        places: 0,
        states: 1,
        groups: 0,
    };

    /// That of `pattern`.
    ///
    /// # Errors
    /// What keeps it from being one.
    pub(super) fn of(pattern: &str) -> Result<Self, Box<regex_syntax::Error>> {
        let tree = regex_syntax::parse(pattern).map_err(Box::new)?;
        let weight = Self::of_tree(&tree);
        let properties = tree.properties();
        let places = if properties.is_literal() {
            // It is sought as a whole.
            1
        } else if properties.look_set().contains_word_unicode() {
            // No combinations are remembered where a text is not ASCII.
            weight.places.saturating_add(FEW_PLACES)
        } else {
            weight.places
        };
        Ok(Self {
            places,
            groups: properties.explicit_captures_len(),
            ..weight
        })
    }

    fn of_tree(tree: &Hir) -> Self {
        let plain = |count: usize| Self {
            places: count,
            states: count,
            groups: 0,
        };
        match tree.kind() {
            HirKind::Empty | HirKind::Look(_) => Self::EMPTY,
            HirKind::Literal(text) => plain(text.0.len()),
            HirKind::Class(Class::Bytes(class)) => {
                plain(1 + class.ranges().len() / RANGES_PER_PLACE)
            }
            HirKind::Class(Class::Unicode(class)) => {
                let ranges = class.ranges().len();
                let beyond = if class.is_ascii() {
                    0
                } else {
                    STATES_BEYOND_ASCII
                };
                Self {
                    places: 1 + ranges.min(RANGES_LOOKED_THROUGH_MAX) / RANGES_PER_PLACE,
                    states: 1 + ranges * STATES_PER_RANGE + beyond,
                    groups: 0,
                }
            }
            HirKind::Repetition(repeated) => {
                // Without an end, the last one goes round.
                let times = repeated.max.unwrap_or(repeated.min.max(1));
                Self::of_tree(&repeated.sub).times(usize::try_from(times).unwrap_or(usize::MAX))
            }
            HirKind::Capture(group) => Self::of_tree(&group.sub),
            HirKind::Concat(parts) | HirKind::Alternation(parts) => parts
                .iter()
                .map(Self::of_tree)
                .fold(Self::EMPTY, |all, part| Self {
                    places: all.places.saturating_add(part.places),
                    states: all.states.saturating_add(part.states).saturating_add(1),
                    groups: 0,
                }),
        }
    }

    fn times(self, times: usize) -> Self {
        Self {
            places: self.places.saturating_mul(times),
            states: self.states.saturating_mul(times.max(1)).saturating_add(1),
            groups: self.groups,
        }
    }

    /// What compiling it takes, in units.
    pub(super) fn compile_units(self) -> usize {
        self.states.min(STATES_MAX) / STATES_PER_UNIT
    }

    /// How often as long as one for a single character a search takes at most.
    fn passes(self, groups: usize) -> usize {
        let each = 1 + groups / GROUPS_PER_PASS;
        let places = self.places.saturating_mul(each);
        (1 + places / PLACES_PER_PASS).saturating_add(places.saturating_sub(FEW_PLACES))
    }
}

/// A compiled pattern.
pub(super) struct Pattern {
    source: Box<str>,
    weight: Weight,
    /// It.
    pub(super) regex: Regex,
}

impl Pattern {
    /// The one that was compiled from `source`, if this evaluation has it.
    pub(super) fn kept(source: &str) -> Option<Rc<Self>> {
        KEPT.with_borrow(|kept| kept.iter().find(|one| *one.source == *source).cloned())
    }

    /// Compiles `source`, and keeps it for the rest of the evaluation.
    ///
    /// # Errors
    /// It is too large.
    pub(super) fn compile(source: &str, weight: Weight) -> Result<Rc<Self>, regex::Error> {
        let regex = RegexBuilder::new(source)
            .size_limit(COMPILED_MAX_BYTES)
            .dfa_size_limit(CACHE_MAX_BYTES)
            .build()?;
        let pattern = Rc::new(Self {
            source: source.into(),
            weight,
            regex,
        });
        KEPT.with_borrow_mut(|kept| {
            let states = |kept: &[Rc<Self>]| {
                let each = kept.iter().map(|one| one.weight.states);
                each.fold(weight.states, usize::saturating_add)
            };
            while kept.len() >= KEPT_MAX || !kept.is_empty() && states(kept) > KEPT_STATES_MAX {
                kept.remove(0);
            }
            kept.push(pattern.clone());
        });
        Ok(pattern)
    }

    /// How often as long as for a single character a search takes at most.
    pub(super) fn passes(&self) -> usize {
        self.weight.passes(0)
    }

    /// The same of one that asks for the groups.
    pub(super) fn passes_with_groups(&self) -> usize {
        self.weight.passes(self.weight.groups)
    }
}

/// Drops what the evaluation on this thread kept.
pub(super) fn forget() {
    KEPT.take();
}
