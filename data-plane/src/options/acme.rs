//! The flags of automatic certificates.

use std::{path::PathBuf, time::Duration};

use signalbox_runtime::tls::acme::{
    AcmeConfig, AcmeConfigError, Contact, DirectoryUrl, Domain, Domains, ExternalAccount,
    LETS_ENCRYPT, RETRY_MIN,
};

/// Flags of the webhook listener's certificates by ACME (RFC 8555).
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Automatic certificates (ACME)")]
pub struct AcmeArgs {
    /// Domain to get a certificate for, instead of --tls-cert. The authority must reach --listen at its port 443.
    #[arg(long, env = "SIGNALBOX_DP_ACME_DOMAIN", value_delimiter = ',')]
    pub acme_domain: Vec<Domain>,
    /// E-mail address that the authority may write to.
    #[arg(long, env = "SIGNALBOX_DP_ACME_CONTACT", value_delimiter = ',')]
    pub acme_contact: Vec<Contact>,
    /// The authority's directory [default: Let's Encrypt]
    #[arg(long, env = "SIGNALBOX_DP_ACME_DIRECTORY", value_name = "URL")]
    pub acme_directory: Option<DirectoryUrl>,
    /// You have read the authority's terms of service, and agree.
    #[arg(long, env = "SIGNALBOX_DP_ACME_ACCEPT_TERMS")]
    pub acme_accept_terms: bool,
    /// PEM file of the authorities that the directory's own certificate may come from [default: the Mozilla root program]
    #[arg(long, env = "SIGNALBOX_DP_ACME_CA", value_name = "FILE")]
    pub acme_ca: Option<PathBuf>,
    /// Key identifier of the external account that the authority demands.
    #[arg(long, env = "SIGNALBOX_DP_ACME_EAB_KID", value_name = "KEY_ID")]
    pub acme_eab_kid: Option<String>,
    /// File of its HMAC key, in base64url.
    #[arg(long, env = "SIGNALBOX_DP_ACME_EAB_HMAC_FILE", value_name = "FILE")]
    pub acme_eab_hmac_file: Option<PathBuf>,
    /// First pause after a failed order, in seconds; it doubles with each, up to an hour.
    #[arg(long, env = "SIGNALBOX_DP_ACME_RETRY_MIN_S", value_name = "SECONDS",
        default_value_t = RETRY_MIN.as_secs(), value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub acme_retry_min_s: u64,
}

/// Flags that do not go together. Each is one line.
#[derive(Debug, thiserror::Error)]
pub enum AcmeArgsError {
    /// Two sources of one certificate.
    #[error(
        "--acme-domain cannot be used with --tls-cert: either gives the listener its certificate"
    )]
    TwoCertificates,
    /// A flag that means nothing without domains.
    #[error("{0} needs --acme-domain")]
    NoDomain(&'static str),
    /// The terms are not agreed to.
    #[error(
        "--acme-domain needs --acme-accept-terms: the authority issues to those who agree to its terms of service"
    )]
    Terms,
    /// Half of an external account.
    #[error("--acme-eab-kid and --acme-eab-hmac-file need each other")]
    HalfExternalAccount,
    /// A value.
    #[error(transparent)]
    Value(#[from] AcmeConfigError),
}

impl AcmeArgs {
    /// What they ask for, if they ask for anything. `has_files`: there is a certificate in files.
    ///
    /// # Errors
    /// [`AcmeArgsError`].
    pub fn config(&self, has_files: bool) -> Result<Option<AcmeConfig>, AcmeArgsError> {
        if self.acme_domain.is_empty() {
            return match self.first_of_the_others() {
                Some(flag) => Err(AcmeArgsError::NoDomain(flag)),
                None => Ok(None),
            };
        }
        if has_files {
            return Err(AcmeArgsError::TwoCertificates);
        }
        if !self.acme_accept_terms {
            return Err(AcmeArgsError::Terms);
        }
        let directory = match &self.acme_directory {
            Some(directory) => directory.clone(),
            None => LETS_ENCRYPT.parse()?,
        };
        let external_account = match (&self.acme_eab_kid, &self.acme_eab_hmac_file) {
            (Some(key_id), Some(file)) => Some(ExternalAccount::read(key_id.clone(), file)?),
            (None, None) => None,
            _ => return Err(AcmeArgsError::HalfExternalAccount),
        };
        Ok(Some(AcmeConfig {
            domains: Domains::new(self.acme_domain.iter().cloned())?,
            contacts: self.acme_contact.clone(),
            directory,
            ca_file: self.acme_ca.clone(),
            external_account,
            retry_min: Duration::from_secs(self.acme_retry_min_s),
        }))
    }

    fn first_of_the_others(&self) -> Option<&'static str> {
        let given = [
            ("--acme-contact", !self.acme_contact.is_empty()),
            ("--acme-directory", self.acme_directory.is_some()),
            ("--acme-accept-terms", self.acme_accept_terms),
            ("--acme-ca", self.acme_ca.is_some()),
            ("--acme-eab-kid", self.acme_eab_kid.is_some()),
            ("--acme-eab-hmac-file", self.acme_eab_hmac_file.is_some()),
        ];
        given
            .into_iter()
            .find_map(|(flag, is_given)| is_given.then_some(flag))
    }
}
