//! Signing certificates: fetched once, kept while they may be.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use moka::{Expiry, future::Cache, sync::Cache as SyncCache};
use reqwest::Method;
use signalbox_model::record::Certificate;
use signalbox_sns::{
    CERTIFICATE_PEM_MAX_BYTES, CertLocation, CertOrigin, CertificateError, Refusal as _, Region,
    SigningCertificate,
};
use tokio::sync::Semaphore;

use super::Problem;
use crate::egress::{Egress, EgressError, EgressPolicy, denied, read_body};

/// Certificates kept. AWS has one URL for each region at a time, and a few while it rotates.
const KEPT_MAX: u64 = 256;
/// How long one is kept, at most: never beyond its validity, which is checked at each use, too.
const KEPT_FOR: Duration = Duration::from_secs(24 * 3600);
/// How long one is kept, at least: one that has expired must not be fetched for every message.
const KEPT_FOR_MIN: Duration = Duration::from_secs(5);
/// How long a failure is remembered: long enough to keep a storm off the origin, short enough to lock nobody out.
const FAILURE_KEPT_FOR: Duration = Duration::from_secs(2);
/// Failures remembered.
const FAILURES_MAX: u64 = 1024;
/// How long one fetch may take. Amazon SNS waits 15 s for our answer.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// Fetches under way at once.
const FETCHES_MAX: usize = 16;
/// How long a fetch may wait for its turn.
const TURN_TIMEOUT: Duration = Duration::from_secs(3);

/// Why there is no certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
enum CertificateProblem {
    /// Not to be had now.
    Unavailable(String),
    /// Too many others are being fetched. Says nothing of the URL, so it is not remembered.
    Busy,
    /// What came is no certificate of Amazon SNS.
    Wrong(CertificateError),
}

impl CertificateProblem {
    fn into_problem(self) -> Problem {
        match self {
            Self::Unavailable(why) => Problem::unavailable(
                "certificate-unavailable",
                format!("the signing certificate cannot be fetched now: {why}"),
            ),
            Self::Busy => Problem::unavailable(
                "certificate-unavailable",
                "the signing certificate cannot be fetched now: too many others are",
            ),
            Self::Wrong(error) => Problem::forbidden(error.reason(), error.to_string()),
        }
    }
}

#[derive(Clone)]
struct Kept {
    certificate: SigningCertificate,
    /// The same, to be kept with what it proves.
    record: Arc<Certificate>,
    until: Instant,
}

impl Kept {
    fn new(certificate: SigningCertificate, lifetime: Duration) -> Self {
        let record = Certificate {
            sha256: certificate.fingerprint().to_string(),
            pem: certificate.pem().to_owned(),
        };
        Self {
            certificate,
            record: Arc::new(record),
            until: Instant::now() + lifetime,
        }
    }
}

/// The certificate of the latest message, and what that message said of it. Nearly all are by the same one, and what its
/// location is follows from URL, region and the trust that is configured alone: it need not be found out again.
struct Latest {
    url: String,
    region: Region,
    kept: Kept,
}

struct Lifetime;

impl Expiry<String, Kept> for Lifetime {
    fn expire_after_create(&self, _: &String, kept: &Kept, now: Instant) -> Option<Duration> {
        Some(kept.until.saturating_duration_since(now))
    }
}

/// Fetches and keeps signing certificates. Failures are kept apart, so that no number of them can push a certificate out,
/// and each counts against its own URL only. One fetch for each URL at a time.
#[derive(Clone)]
pub struct Certificates {
    kept: Cache<String, Kept>,
    latest: Arc<ArcSwapOption<Latest>>,
    failed: SyncCache<String, CertificateProblem>,
    fetches: Arc<Semaphore>,
    aws: Egress,
    trusted: Egress,
}

impl Certificates {
    /// An empty cache. AWS's hosts are fetched under `policy` (an SNS endpoint of a VPC is not public), an origin that the
    /// operator trusts may be anywhere but where it denies.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(policy: EgressPolicy) -> Result<Self, EgressError> {
        Ok(Self {
            kept: Cache::builder()
                .max_capacity(KEPT_MAX)
                .expire_after(Lifetime)
                .build(),
            latest: Arc::default(),
            failed: SyncCache::builder()
                .max_capacity(FAILURES_MAX)
                .time_to_live(FAILURE_KEPT_FOR)
                .build(),
            fetches: Arc::new(Semaphore::new(FETCHES_MAX)),
            trusted: Egress::new(policy.anywhere())?,
            aws: Egress::new(policy)?,
        })
    }

    /// The client for requests to `origin`.
    #[must_use]
    pub fn egress(&self, origin: &CertOrigin) -> &Egress {
        match origin {
            CertOrigin::Aws => &self.aws,
            CertOrigin::Trusted(_) => &self.trusted,
        }
    }

    /// The certificate of the latest message, if that named it in the same way for a topic of the same region.
    #[must_use]
    pub fn latest(
        &self,
        url: &str,
        region: &Region,
    ) -> Option<(SigningCertificate, Arc<Certificate>)> {
        let latest = self.latest.load();
        let latest = latest.as_ref()?;
        let is_it =
            latest.url == url && latest.region == *region && Instant::now() < latest.kept.until;
        is_it.then(|| (latest.kept.certificate.clone(), latest.kept.record.clone()))
    }

    /// The certificate at `location`, which is that of `of_message`'s URL and region; callers at the same time share one
    /// fetch.
    ///
    /// # Errors
    /// 503 when it cannot be had now, 403 when what is there is none.
    pub async fn get(
        &self,
        location: &CertLocation,
        of_message: (&str, &Region),
        now: Timestamp,
    ) -> Result<(SigningCertificate, Arc<Certificate>), Problem> {
        let key = location.cache_key();
        if let Some(kept) = self.kept.get(key).await {
            self.remember(of_message, &kept);
            return Ok((kept.certificate, kept.record));
        }
        if let Some(problem) = self.failed.get(key) {
            return Err(problem.into_problem());
        }
        let fetched = self
            .kept
            .try_get_with_by_ref(key, self.fetch(location, now));
        match fetched.await {
            Ok(kept) => {
                self.remember(of_message, &kept);
                Ok((kept.certificate, kept.record))
            }
            Err(problem) => {
                if *problem != CertificateProblem::Busy {
                    self.failed.insert(key.to_owned(), (*problem).clone());
                }
                Err((*problem).clone().into_problem())
            }
        }
    }

    fn remember(&self, (url, region): (&str, &Region), kept: &Kept) {
        self.latest.store(Some(Arc::new(Latest {
            url: url.to_owned(),
            region: region.clone(),
            kept: kept.clone(),
        })));
    }

    async fn fetch(
        &self,
        location: &CertLocation,
        now: Timestamp,
    ) -> Result<Kept, CertificateProblem> {
        let Ok(Ok(_turn)) = tokio::time::timeout(TURN_TIMEOUT, self.fetches.acquire()).await else {
            return Err(CertificateProblem::Busy);
        };
        metrics::counter!("signalbox_ingest_certificate_fetches_total").increment(1);
        let certificate = self.download(location).await.inspect_err(|problem| {
            tracing::warn!(url = location.url(), ?problem, "no signing certificate");
        })?;
        let valid_for = certificate.not_after().duration_since(now);
        let lifetime = Duration::try_from(valid_for).unwrap_or_default();
        Ok(Kept::new(
            certificate,
            lifetime.clamp(KEPT_FOR_MIN, KEPT_FOR),
        ))
    }

    async fn download(
        &self,
        location: &CertLocation,
    ) -> Result<SigningCertificate, CertificateProblem> {
        let unavailable = |why: String| CertificateProblem::Unavailable(why);
        let url = url::Url::parse(location.url())
            .map_err(|_| unavailable("its URL is unusable".to_owned()))?;
        let egress = self.egress(&location.expected_name().origin());
        let response = egress
            .request(Method::GET, url)
            .map_err(|denied| unavailable(denied.to_string()))?
            .timeout(FETCH_TIMEOUT)
            .send()
            .await
            .map_err(|error| match denied(&error) {
                Some(denied) => unavailable(denied.to_string()),
                None if error.is_timeout() => unavailable("its host is too slow".to_owned()),
                None => unavailable("its host cannot be reached over verified TLS".to_owned()),
            })?;
        // A certificate that was only just rotated in may be missing at one edge and there at the next.
        if response.status() != http::StatusCode::OK {
            let status = response.status().as_u16();
            return Err(unavailable(format!("its host answered {status}")));
        }
        let pem = read_body(response, CERTIFICATE_PEM_MAX_BYTES)
            .await
            .map_err(|error| unavailable(error.to_string()))?;
        SigningCertificate::from_pem(&pem, location.expected_name())
            .map_err(CertificateProblem::Wrong)
    }

    /// Keeps a certificate as if it had been fetched.
    #[cfg(test)]
    pub(crate) async fn keep(&self, location: &CertLocation, certificate: SigningCertificate) {
        let kept = Kept::new(certificate, KEPT_FOR);
        self.kept
            .insert(location.cache_key().to_owned(), kept)
            .await;
    }
}
