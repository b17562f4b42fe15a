//! A certificate authority of our own, as the simulator's Amazon.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use super::{Signer, SignerError};

/// Issues leaf certificates for signers. It lasts as long as the process: nothing verifies its own certificate.
pub struct SimulatedCa {
    issuer: Issuer<'static, KeyPair>,
}

impl SimulatedCa {
    /// A new authority with a key of its own.
    ///
    /// # Errors
    /// [`SignerError::Certificate`] when no key could be made.
    pub fn new() -> Result<Self, SignerError> {
        let key = KeyPair::generate().map_err(|_| SignerError::Certificate)?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params
            .distinguished_name
            .push(DnType::CommonName, "Signalbox simulated Amazon CA");
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Ok(Self {
            issuer: Issuer::new(params, key),
        })
    }

    /// The PEM of a leaf for `signer`'s key, with `dns_name` as its common and only alternative name, as AWS's are.
    /// Valid from the start of `not_before`'s day to the start of the day after `not_after`, in UTC: a certificate
    /// here is dated by days.
    ///
    /// # Errors
    /// [`SignerError::Certificate`] when `dns_name` is none, or issuing fails.
    pub fn issue(
        &self,
        dns_name: &str,
        signer: &Signer,
        not_before: Timestamp,
        not_after: Timestamp,
    ) -> Result<String, SignerError> {
        let refused = |_| SignerError::Certificate;
        let key = KeyPair::try_from(signer.pkcs8()).map_err(refused)?;
        let mut params = CertificateParams::new([dns_name.to_owned()]).map_err(refused)?;
        params.distinguished_name.push(DnType::CommonName, dns_name);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyEncipherment,
        ];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let day = |time: Timestamp, days_later: i64| {
            let date = time.to_zoned_datetime(TimeZone::UTC).date();
            let date = date
                .checked_add(jiff::Span::new().days(days_later))
                .map_err(|_| SignerError::Certificate)?;
            let (month, day) = (date.month().unsigned_abs(), date.day().unsigned_abs());
            Ok(rcgen::date_time_ymd(i32::from(date.year()), month, day))
        };
        params.not_before = day(not_before, 0)?;
        params.not_after = day(not_after, 1)?;
        params
            .signed_by(&key, &self.issuer)
            .map(|leaf| leaf.pem())
            .map_err(refused)
    }
}
