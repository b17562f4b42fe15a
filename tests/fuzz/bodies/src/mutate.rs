//! Seeded mutations: the same seed makes the same bytes, on every machine.

use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};

/// Longest mutant, in bytes.
const MUTANT_MAX_BYTES: usize = 64 * 1024;
/// Bytes at which parsers turn.
const EDGES: [u8; 8] = [0, b'\n', b'"', b'\\', 0x7f, 0x80, 0xfe, 0xff];

/// The mutant of a corpus that `seed` makes. An empty corpus has the empty input.
#[must_use]
pub fn mutant(corpus: &[Vec<u8>], tokens: &[&str], seed: u64) -> Vec<u8> {
    // `SmallRng` differs between 32 and 64 bits; what it is on 64 bits is what CI has.
    let mut random = SmallRng::seed_from_u64(seed);
    let mut bytes = pick(&mut random, corpus).cloned().unwrap_or_default();
    for _ in 0..1_u32 << random.random_range(0..5) {
        change(&mut random, &mut bytes, corpus, tokens);
    }
    bytes.truncate(MUTANT_MAX_BYTES);
    bytes
}

fn pick<'a, T>(random: &mut SmallRng, of: &'a [T]) -> Option<&'a T> {
    (!of.is_empty()).then(|| &of[random.random_range(0..of.len())])
}

/// A piece of `bytes`, short most of the time.
fn piece(random: &mut SmallRng, bytes: &[u8]) -> std::ops::Range<usize> {
    if bytes.is_empty() {
        return 0..0;
    }
    let from = random.random_range(0..bytes.len());
    let longest = 1 << random.random_range(0..10);
    let length = random.random_range(0..=longest);
    from..(from + length).min(bytes.len())
}

fn change(random: &mut SmallRng, bytes: &mut Vec<u8>, corpus: &[Vec<u8>], tokens: &[&str]) {
    let at = random.random_range(0..=bytes.len());
    let range = piece(random, bytes);
    match random.random_range(0..9) {
        0 if at < bytes.len() => bytes[at] ^= 1 << random.random_range(0..8),
        1 if at < bytes.len() => bytes[at] = *pick(random, &EDGES).unwrap_or(&0),
        2 if at < bytes.len() => bytes[at] = random.random_range(b' '..=b'~'),
        3 => bytes.insert(at, random.random()),
        4 => drop(bytes.drain(range)),
        5 => {
            let copy = bytes[range].to_vec();
            bytes.splice(at..at, copy);
        }
        6 => {
            if let Some(other) = pick(random, corpus) {
                let range = piece(random, other);
                bytes.splice(at..at, other[range].iter().copied());
            }
        }
        7 => bytes.truncate(at),
        _ => {
            let token = pick(random, tokens).copied().unwrap_or_default();
            // In place of something as often as in between.
            let end = if random.random_bool(0.5) {
                range.end.max(at)
            } else {
                at
            };
            bytes.splice(at..end, token.bytes());
        }
    }
}
