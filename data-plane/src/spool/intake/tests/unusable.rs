//! Records of the log of which no execution can be made: they are kept and told of, and hold up nothing.

use super::*;

const UNREADABLE: &[u8] = b"an envelope that parsed once";

/// Reads any envelope but one.
fn config() -> IntakeSpoolConfig {
    let mut config = Place::config();
    config.store.read_scope = |body| match body == UNREADABLE {
        true => Err("it does not parse".to_owned()),
        false => Ok(EventScope::unread()),
    };
    config
}

fn enveloped(id: &str, body: &'static [u8]) -> Accept {
    let mut accept = accept(id, 1);
    accept.scope = ScopeSource::Envelope;
    accept.accepted.event.scope = EventScope::unread();
    accept.accepted.event.body = Bytes::from_static(body);
    accept
}

/// What is set aside, with the content of the files.
fn set_aside(place: &Place) -> Vec<(String, Vec<u8>)> {
    let names = place.disk.list().unwrap().into_iter();
    let mut files: Vec<_> = names
        .filter(|name| name.starts_with("unusable-"))
        .map(|name| {
            let file = place.disk.open(&name).unwrap();
            let mut bytes = vec![0; usize::try_from(file.size().unwrap()).unwrap()];
            file.read_at(&mut bytes, 0).unwrap();
            (name, bytes)
        })
        .collect();
    files.sort();
    files
}

async fn settled(spool: &IntakeSpool) {
    for _ in 0..1000 {
        if spool.pending() == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{} are pending: {:?}", spool.pending(), spool.failure());
}

#[tokio::test]
async fn an_event_whose_scope_cannot_be_read_any_more_is_set_aside_and_others_go_on() {
    let place = Place::new();
    let spool = place.open_with(&config());
    for (id, body) in [("a", &b"{}"[..]), ("bad", UNREADABLE), ("b", b"{}")] {
        let accepted = spool.accept(enveloped(id, body)).await;
        assert_eq!(accepted, Ok(Acceptance::New));
    }
    let claimed = claim(&spool, 2).await;
    assert_eq!(
        ids(&claimed),
        BTreeSet::from(["a".to_owned(), "b".to_owned()])
    );
    settled(&spool).await;
    assert_eq!(spool.failure(), None);
    let files = set_aside(&place);
    // The certificate, the definition and one event came before it.
    assert_eq!(files.len(), 1);
    assert_eq!(files[0].0, "unusable-4-1");
    let kept = record::decode(record::ACCEPTED, &files[0].1.clone().into());
    let Ok(record::Content::Accepted(kept)) = kept else {
        panic!("it is not kept as it was");
    };
    assert_eq!(kept.accepted.execution.execution.as_str(), "bad");
    assert_eq!(kept.accepted.event.body, UNREADABLE);
    drop(spool);

    let spool = place.open_with(&config());
    assert_eq!(
        spool.accept(enveloped("c", b"{}")).await,
        Ok(Acceptance::New)
    );
    assert!(ids(&claim(&spool, 3).await).contains("c"));
    assert_eq!(set_aside(&place), files, "once");
}

#[tokio::test]
async fn records_that_nobody_can_read_are_set_aside_at_the_next_start() {
    let place = Place::new();
    let spool = place.open_with(&IntakeSpoolConfig {
        unclaimed_max: 0,
        skim_max: 0,
        ..config()
    });
    spool.accept(enveloped("a", b"{}")).await.unwrap();
    drop(spool);
    // As a later version may write them, or a fault of ours.
    let log = Place::config().log;
    let mut opened = Log::open(Arc::new(place.disk.clone()), &log, None).unwrap();
    opened.writer.push(record::ACCEPTED, &[b"no head"]).unwrap();
    opened.writer.push(99, &[b"of a later version"]).unwrap();
    opened.writer.commit().unwrap();
    drop(opened);

    let spool = place.open_with(&config());
    assert_eq!(
        spool.accept(enveloped("b", b"{}")).await,
        Ok(Acceptance::New)
    );
    let claimed = claim(&spool, 2).await;
    assert_eq!(
        ids(&claimed),
        BTreeSet::from(["a".to_owned(), "b".to_owned()])
    );
    settled(&spool).await;
    assert_eq!(spool.failure(), None);
    let kept: Vec<_> = set_aside(&place)
        .into_iter()
        .map(|(_, bytes)| bytes)
        .collect();
    assert_eq!(kept, [b"no head".to_vec(), b"of a later version".to_vec()]);
}

#[tokio::test]
async fn one_that_finds_no_room_to_be_set_aside_waits_for_it() {
    let place = Place::new();
    let waiting = IntakeSpoolConfig {
        unclaimed_max: 0,
        skim_max: 0,
        ..config()
    };
    let spool = place.open_with(&waiting);
    for (id, body) in [("bad", UNREADABLE), ("b", &b"{}"[..])] {
        spool.accept(enveloped(id, body)).await.unwrap();
    }
    drop(spool);
    place.disk.set_faults(Faults {
        capacity_bytes: Some(SEGMENT_BYTES),
        ..Faults::default()
    });
    let spool = place.open_with(&config());
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!((spool.failure(), spool.pending()), (None, 2));
    assert!(spool.claim(10).await.unwrap().is_empty());
    place.disk.set_faults(Faults::default());
    assert_eq!(
        ids(&claim(&spool, 1).await),
        BTreeSet::from(["b".to_owned()])
    );
    settled(&spool).await;
    assert_eq!(set_aside(&place).len(), 1);
}
