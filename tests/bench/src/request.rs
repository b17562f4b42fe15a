//! A request's bytes, of which only what differs between messages is written anew.

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::corpus::{Corpus, ID_BYTES, Key, SIGNATURE_BYTES, TOPIC, message_id};

/// What a path holds where the workflow's number goes.
pub(crate) const WORKFLOW: &str = "bench-0000";

/// Where the parts of a message stand in its body: what a verifier that does not parse is told.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Layout {
    pub(crate) message: (usize, usize),
    pub(crate) id: (usize, usize),
    pub(crate) timestamp: (usize, usize),
    pub(crate) topic: (usize, usize),
    pub(crate) signature: (usize, usize),
}

/// A request with places for what differs.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    bytes: Vec<u8>,
    ids: Vec<usize>,
    signature: usize,
    workflow: Option<usize>,
    pub(crate) layout: Layout,
}

impl Template {
    /// For the messages of `corpus` from the origin at `url`, sent to `target` (path and query) at `host`.
    pub(crate) fn new(
        corpus: &Corpus,
        key: &Key,
        url: &str,
        host: &str,
        target: &str,
    ) -> Result<Self> {
        let first = corpus.first(key, url)?;
        // As captured from Amazon SNS: text, keep-alive, both encodings.
        let mut bytes = format!("POST {target} HTTP/1.1\r\n").into_bytes();
        for (name, value) in &first.headers {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        let rest = format!(
            "content-length: {}\r\nhost: {host}\r\nconnection: Keep-Alive\r\naccept-encoding: gzip,deflate\r\n\r\n",
            first.body.len()
        );
        bytes.extend_from_slice(rest.as_bytes());
        let layout = layout(&first.body)?;
        let body_at = bytes.len();
        bytes.extend_from_slice(&first.body);
        let ids = all(&bytes, message_id(0).as_bytes());
        ensure!(ids.len() == 2, "the id stands in a header and in the body");
        let workflow = all(&bytes[..target.len() + 5], WORKFLOW.as_bytes());
        Ok(Self {
            ids,
            signature: body_at + layout.signature.0,
            workflow: workflow.first().map(|at| at + WORKFLOW.len() - 4),
            bytes,
            layout,
        })
    }

    /// The request with the message `index` for the workflow `workflow`.
    pub(crate) fn fill(&mut self, corpus: &Corpus, index: u64, workflow: u32) -> &[u8] {
        let id = message_id(index);
        for at in &self.ids {
            self.bytes[*at..at + ID_BYTES].copy_from_slice(id.as_bytes());
        }
        self.bytes[self.signature..self.signature + SIGNATURE_BYTES]
            .copy_from_slice(corpus.signature(index));
        if let Some(at) = self.workflow {
            self.bytes[at..at + 4].copy_from_slice(format!("{workflow:04}").as_bytes());
        }
        &self.bytes
    }
}

fn layout(body: &[u8]) -> Result<Layout> {
    let value = |field: &str| -> Result<(usize, usize)> {
        let start = format!("\"{field}\" : \"");
        let from = all(body, start.as_bytes())
            .first()
            .map(|at| at + start.len())
            .with_context(|| format!("no {field}"))?;
        let length = body[from..].iter().position(|byte| *byte == b'"');
        let to = from + length.with_context(|| format!("{field} does not end"))?;
        Ok((from, to))
    };
    let layout = Layout {
        message: value("Message")?,
        id: value("MessageId")?,
        timestamp: value("Timestamp")?,
        topic: value("TopicArn")?,
        signature: value("Signature")?,
    };
    let text = |(from, to): (usize, usize)| &body[from..to];
    ensure!(text(layout.topic) == TOPIC.as_bytes(), "another topic");
    ensure!(
        !text(layout.message).contains(&b'\\'),
        "a message with escapes cannot be verified without being parsed"
    );
    Ok(layout)
}

/// Where `wanted` stands.
fn all(bytes: &[u8], wanted: &[u8]) -> Vec<usize> {
    bytes
        .windows(wanted.len())
        .enumerate()
        .filter(|(_, window)| *window == wanted)
        .map(|(at, _)| at)
        .collect()
}

#[cfg(test)]
mod tests {
    use signalbox_sns::Envelope;

    use super::*;
    use crate::bare::{Verifier, Verify};

    const URL: &str = "http://127.0.0.1:50123";

    fn body(request: &[u8]) -> &[u8] {
        let head = all(request, b"\r\n\r\n")[0];
        &request[head + 4..]
    }

    #[test]
    fn each_message_is_what_a_node_and_the_bare_server_take_it_for() {
        let dir = tempfile::tempdir().unwrap();
        let key = Key::load(dir.path()).unwrap();
        let corpus = Corpus::load(dir.path(), &key, 1536, 3).unwrap();
        // Again, from what was kept, and further.
        let corpus_again = Corpus::load(dir.path(), &key, 1536, 5).unwrap();
        assert_eq!(corpus.signature(2), corpus_again.signature(2));
        let target = format!("/v1/projects/default/workflows/{WORKFLOW}/sns?x-api-key=k");
        let mut template =
            Template::new(&corpus_again, &key, URL, "127.0.0.1:80", &target).unwrap();
        let told = Verify::new(template.layout, &key).unwrap();
        let verifier = Verifier::try_from(told).unwrap();
        for index in [0, 4] {
            let request = template.fill(&corpus_again, index, 17).to_vec();
            let text = String::from_utf8(request.clone()).unwrap();
            assert!(text.starts_with("POST /v1/projects/default/workflows/bench-0017/sns?"));
            assert!(text.contains(&format!("x-amz-sns-message-id: {}", message_id(index))));
            let body = body(&request);
            assert_eq!(body.len(), 1536);
            let envelope = Envelope::parse(body).unwrap();
            assert_eq!(envelope.message_id(), message_id(index));
            assert!(verifier.is_signed(body).is_some());
            let mut forged = body.to_vec();
            forged[template.layout.message.0] ^= 1;
            assert!(verifier.is_signed(&forged).is_none());
        }
    }
}
