//! The file of `--oidc-config`: whose tokens count, and as which roles. YAML, of which JSON is a part.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read as _,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde_json::{Map, Value};
use signalbox_model::ids::ProjectId;
use url::{Host, Url};

use crate::auth::{ALL_PROJECTS, Role, roles::RoleError};

/// Size of the file, in bytes.
const FILE_MAX_BYTES: u64 = 1024 * 1024;
/// Issuers of a file.
const ISSUERS_MAX: usize = 32;
/// Mappings of an issuer.
const GRANTS_MAX: usize = 1_000;
/// Clocks differ by so much, unless the file says otherwise.
const LEEWAY_DEFAULT: Duration = Duration::from_secs(60);
/// More is no difference of clocks.
const LEEWAY_MAX: Duration = Duration::from_secs(300);

/// Algorithms with a public key. Those with a shared one (HS*) are none that an issuer's published keys could be for.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// Why a file says nothing that can be used. Each is one line for an operator.
#[derive(Debug, thiserror::Error)]
pub enum OidcConfigError {
    /// The file.
    #[error("the OIDC file {} cannot be read", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is no YAML, or has other fields.
    #[error("the OIDC file {} is wrong: {problem}", path.display())]
    Format {
        /// Which.
        path: PathBuf,
        /// What, and in which line.
        problem: String,
    },
    /// A value cannot be used.
    #[error("the OIDC file {} is wrong: {place}: {problem}", path.display())]
    Value {
        /// Which.
        path: PathBuf,
        /// Where in it: `issuers[0].leeway`.
        place: String,
        /// What.
        problem: String,
    },
    /// An issuer's authorities.
    #[error("the certificate authorities of {issuer} cannot be used")]
    Tls {
        /// Whose.
        issuer: String,
        /// Why.
        source: Box<signalbox_runtime::tls::TlsError>,
    },
    /// The HTTP client.
    #[error("the HTTP client for {issuer} cannot be set up")]
    Http {
        /// Whose.
        issuer: String,
        /// Why.
        source: reqwest::Error,
    },
}

/// An issuer whose tokens count.
#[derive(Clone, Debug)]
pub(super) struct IssuerConfig {
    /// Exactly as it stands in `iss`.
    pub(super) issuer: String,
    /// Where its metadata is.
    pub(super) discovery: Url,
    /// A token is for one of these.
    pub(super) audiences: BTreeSet<String>,
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) leeway: Duration,
    /// Authorities to trust, instead of the public ones.
    pub(super) ca_file: Option<PathBuf>,
    pub(super) grants: Vec<Grant>,
}

/// A role in projects, for tokens with a certain value in a certain claim.
#[derive(Clone, Debug)]
pub(super) struct Grant {
    /// The claim's name; more than one where it is in objects.
    claim: Vec<String>,
    value: String,
    role: Role,
    /// `projects/{project}`, or `*`.
    places: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    issuers: Vec<IssuerFile>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct IssuerFile {
    issuer: String,
    audiences: Vec<String>,
    #[serde(default)]
    algorithms: Vec<String>,
    leeway: Option<String>,
    ca_file: Option<PathBuf>,
    roles: Vec<GrantFile>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GrantFile {
    claim: ClaimFile,
    value: String,
    role: String,
    projects: Vec<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ClaimFile {
    Name(String),
    Path(Vec<String>),
}

/// A problem and where it is, below the issuer.
type Problem = (String, String);

fn problem(place: impl Into<String>, what: impl Into<String>) -> Problem {
    (place.into(), what.into())
}

/// The issuers of a file.
///
/// # Errors
/// [`OidcConfigError`].
pub(super) fn read(path: &Path) -> Result<Vec<IssuerConfig>, OidcConfigError> {
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(FILE_MAX_BYTES + 1).read_to_string(&mut text))
        .map_err(|source| OidcConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
    if text.len() as u64 > FILE_MAX_BYTES {
        return Err(OidcConfigError::Format {
            path: path.to_owned(),
            problem: format!("it has more than {FILE_MAX_BYTES} bytes"),
        });
    }
    parse(path, &text)
}

fn parse(path: &Path, text: &str) -> Result<Vec<IssuerConfig>, OidcConfigError> {
    let file: File = serde_saphyr::from_str(text).map_err(|error| OidcConfigError::Format {
        path: path.to_owned(),
        problem: one_line(&error.without_snippet().to_string()),
    })?;
    let wrong = |(place, problem): Problem| OidcConfigError::Value {
        path: path.to_owned(),
        place,
        problem,
    };
    if !(1..=ISSUERS_MAX).contains(&file.issuers.len()) {
        let what = format!("expected 1 to {ISSUERS_MAX} issuers");
        return Err(wrong(problem("issuers", what)));
    }
    let mut issuers = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, issuer) in file.issuers.into_iter().enumerate() {
        let place = format!("issuers[{index}]");
        if !seen.insert(issuer.issuer.clone()) {
            return Err(wrong(problem(format!("{place}.issuer"), "is there twice")));
        }
        let issuer = IssuerConfig::try_from(issuer)
            .map_err(|(field, what)| wrong(problem(format!("{place}.{field}"), what)))?;
        issuers.push(issuer);
    }
    Ok(issuers)
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl TryFrom<IssuerFile> for IssuerConfig {
    type Error = Problem;

    fn try_from(file: IssuerFile) -> Result<Self, Problem> {
        let IssuerFile {
            issuer,
            audiences,
            algorithms,
            leeway,
            ca_file,
            roles,
        } = file;
        let discovery = discovery_url(&issuer).map_err(|what| problem("issuer", what))?;
        let audiences: BTreeSet<_> = audiences.into_iter().collect();
        if audiences.is_empty() || audiences.contains("") {
            return Err(problem(
                "audiences",
                "expected at least one, and none empty",
            ));
        }
        if !(1..=GRANTS_MAX).contains(&roles.len()) {
            return Err(problem("roles", format!("expected 1 to {GRANTS_MAX}")));
        }
        let grants = roles.into_iter().enumerate().map(|(index, grant)| {
            let of = |(field, what): Problem| problem(format!("roles[{index}].{field}"), what);
            Grant::try_from(grant).map_err(of)
        });
        Ok(Self {
            discovery,
            audiences,
            algorithms: parse_algorithms(&algorithms)
                .map_err(|what| problem("algorithms", what))?,
            leeway: leeway
                .map_or(Ok(LEEWAY_DEFAULT), |text| parse_leeway(&text))
                .map_err(|what| problem("leeway", what))?,
            ca_file,
            grants: grants.collect::<Result<_, _>>()?,
            issuer,
        })
    }
}

/// Where an issuer's metadata is (OpenID Connect Discovery 1.0 §4.1).
fn discovery_url(issuer: &str) -> Result<Url, String> {
    let expected = "expected a URL https://host/path without query and fragment";
    let url = Url::parse(issuer).map_err(|_| expected.to_owned())?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err(expected.to_owned());
    }
    may_be_fetched(&url)?;
    let path = format!(
        "{}/.well-known/openid-configuration",
        issuer.trim_end_matches('/')
    );
    Url::parse(&path).map_err(|_| expected.to_owned())
}

/// Keys come over TLS, or from this machine: whoever could change them on their way could sign anything.
pub(super) fn may_be_fetched(url: &Url) -> Result<(), String> {
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a URL with a user or a password is not used".to_owned());
    }
    let is_loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => IpAddr::from(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::from(address).is_loopback(),
        None => false,
    };
    match url.scheme() {
        "https" => Ok(()),
        "http" if is_loopback => Ok(()),
        _ => Err("expected https:// (http:// only to the loopback)".to_owned()),
    }
}

fn parse_algorithms(names: &[String]) -> Result<Vec<Algorithm>, String> {
    if names.is_empty() {
        return Ok(ALGORITHMS.to_vec());
    }
    let known = |name: &String| {
        let found = ALGORITHMS.iter().find(|one| format!("{one:?}") == *name);
        found.copied().ok_or_else(|| {
            let name: String = name.chars().take(32).collect();
            format!("{name:?} is none of {ALGORITHMS:?}")
        })
    };
    names.iter().map(known).collect()
}

fn parse_leeway(text: &str) -> Result<Duration, String> {
    let span = text.parse::<jiff::SignedDuration>().ok();
    span.and_then(|span| Duration::try_from(span).ok())
        .filter(|leeway| *leeway <= LEEWAY_MAX)
        .ok_or_else(|| format!("expected a duration such as 60s, at most {LEEWAY_MAX:?}"))
}

impl TryFrom<GrantFile> for Grant {
    type Error = Problem;

    fn try_from(file: GrantFile) -> Result<Self, Problem> {
        let claim = match file.claim {
            ClaimFile::Name(name) => vec![name],
            ClaimFile::Path(path) => path,
        };
        if claim.is_empty() || claim.iter().any(String::is_empty) {
            return Err(problem("claim", "expected a name, or a list of names"));
        }
        if file.value.is_empty() {
            return Err(problem("value", "must not be empty"));
        }
        if file.projects.is_empty() {
            return Err(problem("projects", "expected at least one, or '*'"));
        }
        let role = file.role.parse();
        let role = role.map_err(|error: RoleError| problem("role", error.to_string()))?;
        let places = file.projects.iter().map(|project| match project.as_str() {
            ALL_PROJECTS => Ok(ALL_PROJECTS.to_owned()),
            id => id
                .parse::<ProjectId>()
                .map(|id| format!("projects/{id}"))
                .map_err(|error| problem("projects", error.to_string())),
        });
        Ok(Self {
            claim,
            value: file.value,
            role,
            places: places.collect::<Result<_, _>>()?,
        })
    }
}

impl IssuerConfig {
    /// The roles that a token with `claims` has, the highest in each place.
    pub(super) fn roles(&self, claims: &Map<String, Value>) -> BTreeMap<String, Role> {
        let mut roles = BTreeMap::new();
        for grant in self.grants.iter().filter(|grant| grant.holds_for(claims)) {
            for place in &grant.places {
                let role = roles.entry(place.clone()).or_insert(grant.role);
                *role = Ord::max(*role, grant.role);
            }
        }
        roles
    }
}

impl Grant {
    fn holds_for(&self, claims: &Map<String, Value>) -> bool {
        let Some((first, rest)) = self.claim.split_first() else {
            return false;
        };
        let found = claims
            .get(first)
            .and_then(|value| rest.iter().try_fold(value, |value, name| value.get(name)));
        match found {
            // A list of words in one text (RFC 8693 §4.2).
            Some(Value::String(text)) if self.claim == ["scope"] => {
                text.split(' ').any(|word| word == self.value)
            }
            Some(Value::String(text)) => *text == self.value,
            Some(Value::Array(values)) => values.iter().any(|value| *value == *self.value),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests;
