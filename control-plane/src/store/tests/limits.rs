//! Rate limits of keys; how many deliveries are kept.

use signalbox_model::rate_limit::RateLimit;

use super::*;
use crate::app::KeyChange;

#[tokio::test]
async fn a_keys_limit_is_set_changed_and_taken_away_on_both_databases() {
    each_database(async |store| {
        let app = app(store.clone());
        let name: ApiKeyName = "projects/default/apiKeys/k".parse().unwrap();
        let limit = |rate, burst| RateLimit::new(rate, burst).ok();
        let new = NewKey {
            rate_limit: limit(100, 200),
            ..NewKey::default()
        };
        let (key, _) = app
            .create_key(&actor(), &project(), &name.api_key, new, "")
            .await
            .unwrap();
        assert_eq!(key.rate_limit(), limit(100, 200));
        assert_eq!(
            app.key(&name).await.unwrap().row.rate_limit(),
            limit(100, 200)
        );

        let changed =
            async |change, etag: &str| app.update_key(&actor(), &name, change, etag).await;
        let to = |rate_limit| KeyChange {
            rate_limit: Some(rate_limit),
            ..KeyChange::default()
        };
        let stale = changed(to(None), "\"0\"").await;
        assert!(matches!(stale, Err(Error::Stale { .. })), "{stale:?}");
        let before = *store.revision().borrow();
        let key = changed(to(limit(1, 0)), &etag(key.revision)).await.unwrap();
        assert_eq!(key.rate_limit(), limit(1, 1));
        assert!(*store.revision().borrow() > before, "the nodes are told");
        let same = changed(to(limit(1, 1)), "").await.unwrap();
        assert_eq!(same, key, "nothing changed");
        let named = KeyChange {
            display_name: Some("Pager".into()),
            ..KeyChange::default()
        };
        let key = changed(named, "").await.unwrap();
        assert_eq!(
            (key.display_name.as_str(), key.rate_limit()),
            ("Pager", limit(1, 1))
        );
        assert_eq!(changed(to(None), "").await.unwrap().rate_limit(), None);
        let too_long = KeyChange {
            display_name: Some("x".repeat(129)),
            ..KeyChange::default()
        };
        let refused = changed(too_long, "").await;
        assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    })
    .await;
}

fn delivery(workflow: &str, number: u64, verdict: Verdict) -> RecordBody {
    RecordBody::Delivery(Box::new(Delivery {
        id: format!("d{number:032}").parse().unwrap(),
        workflow: format!("projects/default/workflows/{workflow}")
            .parse()
            .unwrap(),
        verdict,
        reason: "signature-invalid".into(),
        detail: "forged".into(),
        http_status: 403,
        message_type: "Notification".into(),
        message_id: number.to_string(),
        topic_arn: "arn:t".into(),
        source_address: "192.0.2.1".into(),
        execution: None,
    }))
}

#[tokio::test]
async fn the_newest_refusals_of_each_workflow_are_kept_on_both_databases() {
    each_database(async |store| {
        let app = app(store);
        // Of one time, so that only their ids tell which are newer.
        let time = Timestamp::now();
        let mut bodies = Vec::new();
        for number in 0..40 {
            bodies.push(delivery("a", number, Verdict::Rejected));
            bodies.push(delivery("a", 100 + number, Verdict::Duplicate));
            bodies.push(delivery("a", 200 + number, Verdict::Accepted));
        }
        bodies.push(delivery("b", 300, Verdict::Rejected));
        let records: Vec<_> = (1..)
            .zip(bodies)
            .map(|(n, body)| {
                let mut record = record(n, body);
                record.record.time = time;
                record
            })
            .collect();
        for batch in records.chunks(7) {
            let last = batch.last().unwrap().sequence;
            app.apply_records(&node("n"), "i", batch, last, decode_any)
                .await
                .unwrap();
        }
        let listed = async |workflow: Option<&str>, verdict: &str| {
            let filter = DeliveryFilter {
                verdict: Some(verdict.to_owned()),
                ..DeliveryFilter::default()
            };
            let workflow = workflow.map(|id| id.parse().unwrap());
            let (project, first) = (project(), Page::first(100));
            let page = app.deliveries(&project, workflow.as_ref(), &filter, &first);
            let ids = page.await.unwrap().rows.into_iter();
            ids.map(|row| row.message_id.parse().unwrap())
                .collect::<Vec<u64>>()
        };
        let newest = |from: u64| {
            (from + 40 - DELIVERIES_KEPT..from + 40)
                .rev()
                .collect::<Vec<_>>()
        };
        assert_eq!(listed(Some("a"), "REJECTED").await, newest(0));
        assert_eq!(listed(Some("a"), "DUPLICATE").await, newest(100));
        assert_eq!(listed(Some("a"), "ACCEPTED").await.len(), 40);
        assert_eq!(listed(Some("b"), "REJECTED").await, [300]);
        assert_eq!(listed(None, "REJECTED").await[0], 300);
    })
    .await;
}
