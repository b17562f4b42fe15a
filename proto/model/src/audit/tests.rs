#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;

use super::*;

fn entry(sequence: u64) -> Entry {
    Entry {
        scope: "projects/default".into(),
        sequence,
        time_us: 1_700_000_000_000_000 + i64::try_from(sequence).unwrap(),
        actor: "ann".into(),
        action: "UpdateApiKey".into(),
        resource: "projects/default/apiKeys/k".into(),
        request_id: String::new(),
        trace_id: "0af7651916cd43dd8448eb211c80319c".into(),
        changes: vec![Change {
            field: "displayName".into(),
            before: None,
            after: Some("\"x\"".into()),
        }],
    }
}

/// A chain, oldest first.
fn chain(length: u64) -> Vec<(Entry, Hash)> {
    let mut hash = Hash::FIRST;
    (1..=length)
        .map(|sequence| {
            let entry = entry(sequence);
            hash = entry.hash(&hash);
            (entry, hash)
        })
        .collect()
}

fn verify(chain: &[(Entry, Hash)], noted: &[Head]) -> Result<(u64, Option<Head>), Broken> {
    let mut verifier = Verifier::new(noted.iter().copied());
    for (entry, hash) in chain.iter().rev() {
        verifier.take(entry.clone(), *hash);
    }
    verifier.finish()
}

fn head(chain: &[(Entry, Hash)]) -> Head {
    let (entry, hash) = chain.last().unwrap();
    Head {
        sequence: entry.sequence,
        hash: *hash,
    }
}

#[test]
fn the_form_of_what_is_hashed_stays() {
    // Written down once: what is stored must verify for ever.
    let hash = entry(1).hash(&Hash::FIRST).to_string();
    assert_eq!(
        hash,
        "353b2a4cbbe520d46db1fad351b8cfa558c7b1bc2f5fd4c4d866e19de3b1deab"
    );
}

#[test]
fn an_untouched_chain_is_whole() {
    let whole = chain(5);
    let newest = head(&whole);
    assert_eq!(verify(&whole, &[]), Ok((5, Some(newest))));
    assert_eq!(
        verify(&whole, &[newest, head(&whole[..3])]),
        Ok((5, Some(newest)))
    );
    assert_eq!(verify(&[], &[]), Ok((0, None)));
    assert_eq!(newest.to_string().parse(), Ok(newest));
    for wrong in ["", "5", "5:", "x:00", "5:zz"] {
        assert!(wrong.parse::<Head>().is_err(), "{wrong}");
    }
}

#[test]
fn what_is_cut_off_is_told_by_a_head_that_was_noted() {
    let whole = chain(5);
    let noted = head(&whole);
    assert_eq!(verify(&whole[..3], &[]), Ok((3, Some(head(&whole[..3])))));
    assert_eq!(verify(&whole[..3], &[noted]), Err(Broken::Truncated(4)));
    assert_eq!(verify(&[], &[noted]), Err(Broken::Truncated(1)));
    assert_eq!(verify(&whole[1..], &[noted]), Err(Broken::Missing(1)));
    let mut other = whole.clone();
    // Written anew from the third on, with hashes that fit.
    other[2].0.actor = "eve".into();
    for at in 2..5 {
        let previous = other[at - 1].1;
        other[at].1 = other[at].0.hash(&previous);
    }
    assert!(verify(&other, &[]).is_ok());
    assert_eq!(verify(&other, &[noted]), Err(Broken::Replaced(5)));
    assert_eq!(
        verify(&other, &[head(&whole[..2])]).map(|(count, _)| count),
        Ok(5)
    );
}

/// What can be done to one entry.
fn alter(entry: &mut Entry, how: usize) {
    let text = match how {
        0 => &mut entry.scope,
        1 => &mut entry.actor,
        2 => &mut entry.action,
        3 => &mut entry.resource,
        4 => &mut entry.request_id,
        5 => &mut entry.trace_id,
        6 => &mut entry.changes[0].field,
        7 => {
            entry.changes[0].before = Some(String::new());
            return;
        }
        8 => {
            entry.changes[0].after = None;
            return;
        }
        9 => {
            entry.changes.clear();
            return;
        }
        _ => {
            entry.time_us += 1;
            return;
        }
    };
    text.push('x');
}

proptest! {
    #[test]
    fn whatever_is_altered_is_found(length in 1_u64..12, at in 0_usize..12, how in 0_usize..11) {
        let mut chain = chain(length);
        let at = at % chain.len();
        alter(&mut chain[at].0, how);
        prop_assert_eq!(verify(&chain, &[]), Err(Broken::Altered(at as u64 + 1)));
        // Whoever alters its hash, too, breaks the one after it; or, at the end, what was noted.
        let noted = head(&self::chain(length));
        let previous = at.checked_sub(1).map_or(Hash::FIRST, |before| chain[before].1);
        chain[at].1 = chain[at].0.hash(&previous);
        let expected = match at + 1 == chain.len() {
            true => Broken::Replaced(length),
            false => Broken::Altered(at as u64 + 2),
        };
        prop_assert_eq!(verify(&chain, &[noted]), Err(expected));
    }

    #[test]
    fn whatever_is_taken_out_or_moved_is_found(length in 2_u64..12, at in 0_usize..12, to in 0_usize..12) {
        let whole = chain(length);
        let noted = head(&whole);
        let (at, to) = (at % whole.len(), to % whole.len());
        let mut gone = whole.clone();
        gone.remove(at);
        let expected = match at + 1 == whole.len() {
            true => Broken::Truncated(length),
            false => Broken::Missing(at as u64 + 1),
        };
        prop_assert_eq!(verify(&gone, &[noted]), Err(expected));
        let mut moved = whole.clone();
        moved.swap(at, to);
        prop_assert_eq!(verify(&moved, &[]).is_ok(), at == to);
        let mut twice = whole.clone();
        twice.insert(at, whole[at].clone());
        prop_assert!(verify(&twice, &[]).is_err());
    }
}
