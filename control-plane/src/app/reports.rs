//! What nodes report.

use signalbox_model::{
    audit::Change,
    error::Error,
    ids::NodeId,
    record::SequencedRecord,
    violation::Violations,
    workflow::{Trigger, Workflow as Valid},
};

use super::App;
use crate::store::{Actor, ConfirmedTopic};

/// A node, as the one who did something.
fn reporter(node: &NodeId) -> Actor {
    Actor {
        subject: format!("nodes/{node}"),
        request_id: None,
        trace_id: None,
    }
}

impl App {
    /// How far a node's records are durable.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn report_cursor(&self, node: &NodeId, incarnation: &str) -> Result<u64, Error> {
        let cursor = self
            .store
            .write(async |tx| tx.cursor(node, incarnation).await)
            .await?;
        Ok(u64::try_from(cursor).unwrap_or(0))
    }

    /// As [`App::apply_records`]. A record that the database refuses, as it always will, is passed over, loudly: it must not hold up
    /// all that the node reports after it.
    ///
    /// # Errors
    /// When the database fails: some of them may be durable, and the node sends the batch again.
    pub async fn apply_records_or_pass_over(
        &self,
        (node, incarnation): (&NodeId, &str),
        records: &[SequencedRecord],
        last: u64,
        decode: &impl Fn(&signalbox_model::ids::WorkflowName, &[u8]) -> Result<Valid, Violations>,
    ) -> Result<u64, Error> {
        // Halves that are to be tried yet, the next one last, each with the record that it makes durable.
        let mut left = vec![(records, last)];
        let mut reached = 0;
        while let Some((records, last)) = left.pop() {
            let applied = self.apply_records(node, incarnation, records, last, decode);
            reached = match (applied.await, records) {
                (Err(Error::Invalid(_)), [refused]) => {
                    let sequence = refused.sequence;
                    tracing::error!(%node, sequence, "the database refuses a record: it is passed over, and not shown");
                    metrics::counter!("signalbox_report_records_refused_total").increment(1);
                    self.apply_records(node, incarnation, &[], last, decode)
                        .await?
                }
                (Err(Error::Invalid(_)), [_, _, ..]) => {
                    let (before, after) = records.split_at(records.len() / 2);
                    left.push((after, last));
                    left.push((before, before.last().map_or(last, |record| record.sequence)));
                    continue;
                }
                (applied, _) => applied?,
            };
        }
        Ok(reached)
    }

    /// Makes records durable, each once: those at or below the cursor are skipped, and the cursor moves in the same
    /// transaction, which holds it alone: another stream of the node, at another replica, waits for it. Gives the new cursor. `decode` reads a definition, to know whether its trigger lets a topic bind.
    ///
    /// # Errors
    /// When the database fails: nothing was written, and the node sends the batch again.
    pub async fn apply_records(
        &self,
        node: &NodeId,
        incarnation: &str,
        records: &[SequencedRecord],
        last: u64,
        decode: impl Fn(&signalbox_model::ids::WorkflowName, &[u8]) -> Result<Valid, Violations>,
    ) -> Result<u64, Error> {
        let last = i64::try_from(last).unwrap_or(i64::MAX);
        let reached = self
            .store
            .write(async |tx| {
                let cursor = tx.cursor(node, incarnation).await?;
                let value_max_bytes = self.settings.history_value_max_bytes;
                let new: Vec<&SequencedRecord> = records
                    .iter()
                    .filter(|record| i64::try_from(record.sequence).unwrap_or(i64::MAX) > cursor)
                    .collect();
                for ConfirmedTopic {
                    workflow,
                    topic_arn,
                } in tx.apply_records(node, &new, value_max_bytes).await?
                {
                    tx.lock_configuration().await?;
                    let row = match tx.workflow(&workflow).await {
                        Ok(row) if row.bound_topic.is_none() && row.published_version > 0 => row,
                        Ok(_) | Err(Error::NotFound { .. }) => continue,
                        Err(error) => return Err(error),
                    };
                    let source = tx
                        .workflow_version(&workflow, row.published_version)
                        .await?
                        .source;
                    let binds = matches!(
                        decode(&workflow, &source).map(|valid| valid.trigger().clone()),
                        Ok(Trigger::AmazonSns(sns)) if sns.topic_arns.is_empty()
                    );
                    if binds {
                        tracing::info!(%workflow, topic_arn, "the first confirmed topic binds");
                        tx.bind_topic(row, &topic_arn).await?;
                        let bound = vec![Change::new_field("boundTopicArn", topic_arn)];
                        tx.audit(&reporter(node), "BindTopic", &workflow.to_string(), bound);
                    }
                }
                tx.trim_deliveries(self.settings.deliveries_kept_max)
                    .await?;
                let reached = cursor.max(last);
                if reached > cursor {
                    tx.set_cursor(node, incarnation, reached).await?;
                }
                tx.node_reported(node, reached).await?;
                Ok(reached)
            })
            .await?;
        Ok(u64::try_from(reached).unwrap_or(0))
    }
}
