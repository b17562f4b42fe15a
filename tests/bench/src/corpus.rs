//! Distinct signed messages: signed once, kept on disk, put together again when they are sent.
//!
//! Two messages of a corpus differ in MessageId and Signature only, so that a million of them take 344 bytes each. A
//! signature does not cover its certificate's URL: a corpus outlives the port of the origin that serves it.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::{SignedDuration, Timestamp};
use signalbox_sns::{
    SignatureVersion, SubscriptionArn, TopicArn,
    signer::{Draft, Signer, SimulatedCa},
};

/// The topic that all messages come from.
pub(crate) const TOPIC: &str = "arn:aws:sns:us-east-1:123456789012:orders";
/// Where the origin serves the signing certificate.
pub(crate) const CERTIFICATE_PATH: &str =
    "/SimpleNotificationService-0123456789abcdef0123456789abcdef.pem";
/// Base64 of 256 bytes.
pub(crate) const SIGNATURE_BYTES: usize = 344;
/// Length of a MessageId.
pub(crate) const ID_BYTES: usize = 36;

/// A node refuses messages older than its deduplication window, 7 days.
const AGE_MAX: SignedDuration = SignedDuration::from_hours(5 * 24);
const HEADER_BYTES: usize = 8 + 32;
/// Messages that a thread signs between two looks at the clock.
const CHUNK: usize = 256;
const WORDS: &str = "order accepted, paid and ready to be picked at the warehouse; ";

/// The key that signs, made once and kept.
pub(crate) struct Key {
    pub(crate) signer: Signer,
    digest: [u8; 32],
}

impl Key {
    /// The key in `dir`, made when there is none.
    pub(crate) fn load(dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir)?;
        let path = dir.join("signing-key.pk8");
        let signer = match std::fs::read(&path) {
            Ok(pkcs8) => Signer::from_pkcs8(&pkcs8)?,
            Err(_) => {
                let signer = Signer::generate()?;
                std::fs::write(&path, signer.pkcs8())?;
                signer
            }
        };
        let mut own = [0; 32];
        own.copy_from_slice(digest(&SHA256, signer.pkcs8()).as_ref());
        Ok(Self {
            signer,
            digest: own,
        })
    }

    /// The PEM of a certificate for it.
    pub(crate) fn certificate(&self) -> Result<String> {
        let day = SignedDuration::from_hours(24);
        let now = Timestamp::now();
        let ca = SimulatedCa::new()?;
        Ok(ca.issue("sns.amazonaws.com", &self.signer, now - day, now + day * 30)?)
    }
}

/// The MessageId of the message `index`.
pub(crate) fn message_id(index: u64) -> String {
    format!("{:08x}-5b0c-4000-8000-{index:012x}", index as u32)
}

/// The string to sign of a Notification without Subject.
pub(crate) fn string_to_sign(message: &[u8], id: &[u8], timestamp: &[u8], topic: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(message.len() + 256);
    for part in [
        b"Message\n".as_slice(),
        message,
        b"\nMessageId\n",
        id,
        b"\nTimestamp\n",
        timestamp,
        b"\nTopicArn\n",
        topic,
        b"\nType\nNotification\n",
    ] {
        text.extend_from_slice(part);
    }
    text
}

/// Signed messages whose bodies have one size.
pub(crate) struct Corpus {
    /// How large a body is.
    pub(crate) body_bytes: usize,
    /// How many there are.
    pub(crate) count: u64,
    message: String,
    timestamp: Timestamp,
    /// Base64, one after the other.
    signatures: Vec<u8>,
}

impl Corpus {
    /// The corpus in `dir`, as far as it goes; the rest is signed now and kept.
    pub(crate) fn load(dir: &Path, key: &Key, body_bytes: usize, count: u64) -> Result<Self> {
        let path = dir.join(format!("{body_bytes}.signatures"));
        let (timestamp, mut signatures) = kept(&path, key).unwrap_or_else(|| {
            let now = Timestamp::now();
            let ms = Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now);
            (ms, Vec::new())
        });
        let frame = draft("", timestamp, "http://127.0.0.1:50000").sign(&key.signer)?;
        let room = body_bytes
            .checked_sub(frame.body.len())
            .with_context(|| format!("no envelope fits into {body_bytes} bytes"))?;
        let message: String = WORDS.chars().cycle().take(room).collect();
        let wanted = usize::try_from(count)?;
        let have = signatures.len() / SIGNATURE_BYTES;
        if have < wanted {
            eprintln!(
                "signing {} messages of {body_bytes} bytes, once; they are kept in {}",
                wanted - have,
                path.display()
            );
            let more = sign(key, &message, timestamp, have..wanted)?;
            signatures.extend_from_slice(&more);
            keep(&path, key, timestamp, &signatures)?;
        }
        signatures.truncate(wanted * SIGNATURE_BYTES);
        Ok(Self {
            body_bytes,
            count,
            message,
            timestamp,
            signatures,
        })
    }

    /// The Signature of the message `index`, in Base64.
    pub(crate) fn signature(&self, index: u64) -> &[u8] {
        let at = index as usize * SIGNATURE_BYTES;
        &self.signatures[at..at + SIGNATURE_BYTES]
    }

    /// The message 0 with its headers, as the origin at `url` would send it.
    pub(crate) fn first(
        &self,
        key: &Key,
        url: &str,
    ) -> Result<signalbox_sns::signer::SignedMessage> {
        let signed = draft(&self.message, self.timestamp, url).sign(&key.signer)?;
        let own = std::str::from_utf8(self.signature(0))?;
        let body = std::str::from_utf8(&signed.body)?;
        // RSASSA-PKCS1-v1_5 is deterministic: this shows that what was signed here is what SNS's rules say.
        ensure!(body.contains(own), "the corpus was signed by other rules");
        Ok(signed)
    }

    /// String to sign and signature of the message `index`.
    pub(crate) fn to_verify(&self, index: u64) -> Result<(Vec<u8>, Vec<u8>)> {
        let time = time_text(self.timestamp);
        let id = message_id(index);
        let text = string_to_sign(
            self.message.as_bytes(),
            id.as_bytes(),
            time.as_bytes(),
            TOPIC.as_bytes(),
        );
        Ok((text, STANDARD.decode(self.signature(index))?))
    }
}

fn time_text(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

fn draft(message: &str, timestamp: Timestamp, url: &str) -> Draft {
    #[expect(clippy::expect_used, reason = "constants")]
    let topic = TopicArn::parse(TOPIC).expect("a topic");
    let subscription = format!("{TOPIC}:c9135db0-26c4-47ec-8998-413945fb5a96");
    Draft {
        signing_cert_url: format!("{url}{CERTIFICATE_PATH}"),
        endpoint: url.to_owned(),
        subscription_arn: SubscriptionArn::parse(&subscription).ok(),
        ..Draft::notification(&topic, &message_id(0), message, timestamp)
    }
}

fn kept(path: &PathBuf, key: &Key) -> Option<(Timestamp, Vec<u8>)> {
    let mut bytes = std::fs::read(path).ok()?;
    let (head, signatures) = bytes.split_at_checked(HEADER_BYTES)?;
    let timestamp = Timestamp::from_millisecond(i64::from_le_bytes(head[..8].try_into().ok()?));
    let timestamp = timestamp.ok()?;
    let usable = head[8..] == key.digest
        && signatures.len().is_multiple_of(SIGNATURE_BYTES)
        && Timestamp::now().duration_since(timestamp) < AGE_MAX;
    if !usable {
        return None;
    }
    bytes.drain(..HEADER_BYTES);
    Some((timestamp, bytes))
}

fn keep(path: &PathBuf, key: &Key, timestamp: Timestamp, signatures: &[u8]) -> Result<()> {
    let head = timestamp.as_millisecond().to_le_bytes();
    let whole = [&head[..], &key.digest, signatures].concat();
    let part = path.with_extension("part");
    std::fs::write(&part, whole)?;
    std::fs::rename(&part, path)?;
    Ok(())
}

/// Signs on every core.
fn sign(
    key: &Key,
    message: &str,
    timestamp: Timestamp,
    range: std::ops::Range<usize>,
) -> Result<Vec<u8>> {
    let time = time_text(timestamp);
    let chunks: Vec<_> = range.clone().step_by(CHUNK).collect();
    let next = std::sync::atomic::AtomicUsize::new(0);
    let started = Instant::now();
    let done = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..crate::machine::cores())
            .map(|thread| {
                let (chunks, next, time, range) = (&chunks, &next, &time, &range);
                scope.spawn(move || -> Result<Vec<(usize, Vec<u8>)>> {
                    let mut own = Vec::new();
                    let mut told = Instant::now();
                    loop {
                        let number = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        let Some(&from) = chunks.get(number) else {
                            return Ok(own);
                        };
                        if thread == 0 && told.elapsed() > Duration::from_secs(10) {
                            told = Instant::now();
                            eprintln!("  {number} of {} × {CHUNK}", chunks.len());
                        }
                        let mut signed = Vec::with_capacity(CHUNK * SIGNATURE_BYTES);
                        for index in from..(from + CHUNK).min(range.end) {
                            let id = message_id(index as u64);
                            let text = string_to_sign(
                                message.as_bytes(),
                                id.as_bytes(),
                                time.as_bytes(),
                                TOPIC.as_bytes(),
                            );
                            let signature = key.signer.sign(SignatureVersion::V2, &text)?;
                            signed.extend_from_slice(STANDARD.encode(signature).as_bytes());
                        }
                        own.push((from, signed));
                    }
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|_| Err(anyhow::anyhow!("a signing thread panicked")))
            })
            .collect::<Result<Vec<_>>>()
    })?;
    let mut done: Vec<_> = done.into_iter().flatten().collect();
    done.sort_unstable_by_key(|(from, _)| *from);
    eprintln!("  done in {:.0} s", started.elapsed().as_secs_f64());
    Ok(done.into_iter().flat_map(|(_, signed)| signed).collect())
}
