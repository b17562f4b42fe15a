//! Kinds of values, as sets: what an expression may give, as far as that is known before it runs.

use std::fmt;

/// A set of kinds. Whatever is not known has all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kinds(u16);

impl Kinds {
    pub(super) const NULL: Self = Self(1);
    pub(super) const BOOL: Self = Self(1 << 1);
    pub(super) const INT: Self = Self(1 << 2);
    pub(super) const UINT: Self = Self(1 << 3);
    pub(super) const DOUBLE: Self = Self(1 << 4);
    pub(super) const STRING: Self = Self(1 << 5);
    pub(super) const BYTES: Self = Self(1 << 6);
    pub(super) const LIST: Self = Self(1 << 7);
    pub(super) const MAP: Self = Self(1 << 8);
    pub(super) const TIMESTAMP: Self = Self(1 << 9);
    pub(super) const DURATION: Self = Self(1 << 10);
    pub(super) const TYPE: Self = Self(1 << 11);
    pub(super) const OPTIONAL: Self = Self(1 << 12);
    pub(super) const ANY: Self = Self((1 << 13) - 1);
    pub(super) const NONE: Self = Self(0);

    pub(super) const NUMBER: Self = Self::INT.or(Self::UINT).or(Self::DOUBLE);

    /// Those of both.
    pub(super) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those that are not of the other.
    pub(super) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether a value may be of both.
    pub(super) const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Each alone, with what people call it.
    fn names(self) -> impl Iterator<Item = &'static str> {
        const NAMES: [&str; 13] = [
            "null",
            "bool",
            "int",
            "uint",
            "double",
            "string",
            "bytes",
            "list",
            "map",
            "timestamp",
            "duration",
            "type",
            "optional",
        ];
        NAMES
            .into_iter()
            .enumerate()
            .filter(move |(bit, _)| self.0 & (1 << bit) != 0)
            .map(|(_, name)| name)
    }
}

impl fmt::Display for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::ANY {
            return f.write_str("any");
        }
        for (index, name) in self.names().enumerate() {
            if index > 0 {
                f.write_str(" or ")?;
            }
            f.write_str(name)?;
        }
        Ok(())
    }
}
