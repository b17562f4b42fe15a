//! Entries of the audit log, and the chain that their hashes make.
//!
//! Each project has a chain of its own, so that its admins can verify it with what they may read; what belongs to no project
//! has one, too. An entry's hash is the SHA-256 of the hash before it and of the entry, so that whoever noted a hash notices
//! every change of what was written until then.

use std::{fmt, str::FromStr};

use aws_lc_rs::digest::{Context, SHA256};
use data_encoding::HEXLOWER;

/// Length of a hash.
pub const HASH_BYTES: usize = 32;
/// What every hash begins with: the form of what follows.
const FORM: &[u8] = b"signalbox audit 1\n";

/// The hash of an entry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hash(pub [u8; HASH_BYTES]);

impl Hash {
    /// What stands for the hash before the first entry.
    pub const FIRST: Self = Self([0; HASH_BYTES]);

    /// From its bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is no [`Hash`] or no [`Head`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// No hash.
    #[error("expected 64 hexadecimal digits")]
    Hash,
    /// No head.
    #[error("expected SEQUENCE:HASH, as audit verify prints it")]
    Head,
}

impl FromStr for Hash {
    type Err = HashError;
    fn from_str(text: &str) -> Result<Self, HashError> {
        let bytes = HEXLOWER.decode(text.as_bytes());
        let bytes = bytes.map_err(|_| HashError::Hash)?;
        Self::from_bytes(&bytes).ok_or(HashError::Hash)
    }
}

/// The newest entry of a chain at some time: whoever noted it can tell later whether it is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its number; 0: there was none.
    pub sequence: u64,
    /// Its hash.
    pub hash: Hash,
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.sequence, self.hash)
    }
}

impl FromStr for Head {
    type Err = HashError;
    fn from_str(text: &str) -> Result<Self, HashError> {
        let (sequence, hash) = text.split_once(':').ok_or(HashError::Head)?;
        Ok(Self {
            sequence: sequence.parse().map_err(|_| HashError::Head)?,
            hash: hash.parse()?,
        })
    }
}

/// Who did what, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The project's name, whose chain it is in; empty: that of no project.
    pub scope: String,
    /// Its number in the chain, from 1.
    pub sequence: u64,
    /// When, in microseconds since the Unix epoch.
    pub time_us: i64,
    /// Who.
    pub actor: String,
    /// What was done: the name of a method.
    pub action: String,
    /// To what.
    pub resource: String,
    /// The request's id; empty: it had none.
    pub request_id: String,
    /// The trace of the call; empty: it had none.
    pub trace_id: String,
    /// What was changed.
    pub changes: Vec<Change>,
}

/// One field that was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its path.
    pub field: String,
    /// What it was, as JSON text; [`None`]: it was not there.
    pub before: Option<String>,
    /// What it is now, likewise.
    pub after: Option<String>,
}

impl Change {
    /// A field that is there now, and was not.
    pub fn new_field(field: impl Into<String>, after: impl Into<serde_json::Value>) -> Self {
        Self {
            field: field.into(),
            before: None,
            after: Some(after.into().to_string()),
        }
    }
}

impl Entry {
    /// Its hash, after the one before it. What is hashed: [`FORM`], `previous`, then sequence and time as 8 bytes, the most
    /// significant first, then each text as its length in bytes (8 bytes) and its UTF-8, in the order of the fields here;
    /// then the number of changes (8 bytes) and of each the field and twice 0, or 1 and a text.
    #[must_use]
    pub fn hash(&self, previous: &Hash) -> Hash {
        let Self {
            scope,
            sequence,
            time_us,
            actor,
            action,
            resource,
            request_id,
            trace_id,
            changes,
        } = self;
        let mut digest = Digest(Context::new(&SHA256));
        digest.bytes(FORM);
        digest.bytes(&previous.0);
        digest.bytes(&sequence.to_be_bytes());
        digest.bytes(&time_us.to_be_bytes());
        for text in [scope, actor, action, resource, request_id, trace_id] {
            digest.text(text);
        }
        digest.bytes(&(changes.len() as u64).to_be_bytes());
        for Change {
            field,
            before,
            after,
        } in changes
        {
            digest.text(field);
            digest.optional(before.as_deref());
            digest.optional(after.as_deref());
        }
        digest.finish()
    }
}

struct Digest(Context);

impl Digest {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(&(text.len() as u64).to_be_bytes());
        self.bytes(text.as_bytes());
    }

    fn optional(&mut self, text: Option<&str>) {
        match text {
            None => self.bytes(&[0]),
            Some(text) => {
                self.bytes(&[1]);
                self.text(text);
            }
        }
    }

    fn finish(self) -> Hash {
        let digest = self.0.finish();
        let mut hash = [0; HASH_BYTES];
        hash.copy_from_slice(digest.as_ref());
        Hash(hash)
    }
}

/// What is wrong with a chain: the oldest entry that is not as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// An entry is not what was written, or not in its place.
    #[error("entry {0} is not as it was written, or the one before it is not")]
    Altered(u64),
    /// An entry is gone.
    #[error("entry {0} is missing")]
    Missing(u64),
    /// The newest entries are gone.
    #[error("the entries end before entry {0}, which was there")]
    Truncated(u64),
    /// An entry that was noted is there, with another hash.
    #[error("entry {0} has another hash than was noted")]
    Replaced(u64),
}

/// Verifies a chain of which it is given every entry, newest first.
#[derive(Debug)]
pub struct Verifier {
    noted: Vec<(Head, bool)>,
    newest: Option<Head>,
    /// The entry that was given last, and its hash as it is stored.
    later: Option<(Entry, Hash)>,
    count: u64,
    broken: Option<Broken>,
}

impl Verifier {
    /// Of a chain that must hold the entries of `noted`.
    pub fn new(noted: impl IntoIterator<Item = Head>) -> Self {
        let noted = noted.into_iter().filter(|head| head.sequence > 0);
        Self {
            noted: noted.map(|head| (head, false)).collect(),
            newest: None,
            later: None,
            count: 0,
            broken: None,
        }
    }

    /// Takes the entry before the one that was taken last, with the hash that is stored with it.
    pub fn take(&mut self, entry: Entry, hash: Hash) {
        let sequence = entry.sequence;
        self.count += 1;
        self.newest.get_or_insert(Head { sequence, hash });
        for (head, is_seen) in &mut self.noted {
            if head.sequence == sequence {
                *is_seen = true;
                if head.hash != hash {
                    self.broken = Some(Broken::Replaced(sequence));
                }
            }
        }
        if let Some((later, stored)) = self.later.replace((entry, hash)) {
            match later.sequence.checked_sub(sequence) {
                Some(1) => self.check(&later, &hash, &stored),
                Some(gap) if gap > 1 => self.broken = Some(Broken::Missing(sequence + 1)),
                _ => self.broken = Some(Broken::Altered(sequence)),
            }
        }
    }

    fn check(&mut self, entry: &Entry, previous: &Hash, stored: &Hash) {
        if entry.hash(previous) != *stored {
            self.broken = Some(Broken::Altered(entry.sequence));
        }
    }

    /// How many entries there were, and the newest.
    ///
    /// # Errors
    /// The oldest place at which the chain is broken.
    pub fn finish(mut self) -> Result<(u64, Option<Head>), Broken> {
        match self.later.take() {
            Some((oldest, stored)) if oldest.sequence == 1 => {
                self.check(&oldest, &Hash::FIRST, &stored);
            }
            Some(_) => self.broken = Some(Broken::Missing(1)),
            None => {}
        }
        // What is told is the oldest place, and the end of a chain is behind all others.
        let newest = self.newest.map_or(0, |head| head.sequence);
        let unseen = self.noted.iter().filter(|(_, is_seen)| !is_seen);
        let beyond = unseen.map(|(head, _)| head.sequence).min();
        match (self.broken, beyond) {
            (Some(broken), _) => Err(broken),
            (None, Some(sequence)) if sequence > newest => Err(Broken::Truncated(newest + 1)),
            (None, Some(sequence)) => Err(Broken::Missing(sequence)),
            (None, None) => Ok((self.count, self.newest)),
        }
    }
}

#[cfg(test)]
mod tests;
