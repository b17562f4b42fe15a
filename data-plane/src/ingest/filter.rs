//! What the trigger's filter policy does not want: answered 200, recorded, and nothing comes of it.

use http::StatusCode;
use signalbox_model::{
    filter_policy::Attribute,
    record::{Record, RecordBody, Verdict},
    workflow::AmazonSnsTrigger,
};
use signalbox_sns::MessageAttributes;

use super::{Answer, Authorized, Ingest, Seen, Standing, delivery};

/// Stable reason of filtered deliveries.
pub(crate) const REASON: &str = "filter-policy";

/// Whether a genuine message starts the workflow.
pub(super) fn wants(
    trigger: &AmazonSnsTrigger,
    message: &str,
    attributes: &MessageAttributes,
) -> bool {
    let Some(policy) = &trigger.filter_policy else {
        return true;
    };
    let attributes = attributes.iter().map(|(name, attribute)| Attribute {
        name,
        data_type: &attribute.data_type,
        value: &attribute.value,
    });
    policy.wants(message, attributes)
}

/// The answer to a message that is not wanted. Its record may be lost under load, as those of refusals: it stands for
/// nothing that is owed.
pub(super) fn left_out(
    ingest: &Ingest,
    authorized: &Authorized,
    seen: &mut Seen,
    traceparent: Option<String>,
) -> Answer {
    if !recorded(ingest, authorized, seen, traceparent) {
        metrics::counter!("signalbox_ingest_filtered_unrecorded_total").increment(1);
    }
    Answer::Filtered
}

fn recorded(
    ingest: &Ingest,
    authorized: &Authorized,
    seen: &mut Seen,
    traceparent: Option<String>,
) -> bool {
    let head = &authorized.head;
    if !ingest.budget.take(Standing::Filtered, &head.workflow) {
        return false;
    }
    let delivery = delivery(
        head,
        std::mem::take(seen),
        Verdict::Filtered,
        REASON,
        "the trigger's filter policy does not want the message",
        StatusCode::OK,
    );
    ingest.spool.offer(Record {
        time: head.received_at,
        traceparent,
        body: RecordBody::Delivery(Box::new(delivery)),
    })
}
