//! Topic and subscription ARNs, and the partitions and regions they name.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{Refusal, RefusalKind};

#[cfg(test)]
mod tests;

/// Longest ARN accepted, in bytes. The longest real subscription ARN (256-byte topic name) stays below 400.
pub const ARN_MAX_BYTES: usize = 512;
const TOPIC_NAME_MAX_BYTES: usize = 256;
const SUBSCRIPTION_ID_MAX_BYTES: usize = 128;
const REGION_MAX_BYTES: usize = 32;
const ACCOUNT_BYTES: usize = 12;
/// Parts of a region's name before its number.
const PLACE_PARTS_MAX: usize = 3;

/// Why a text is not an SNS ARN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArnError {
    /// Longer than [`ARN_MAX_BYTES`].
    #[error("ARN is longer than {ARN_MAX_BYTES} bytes")]
    TooLong,
    /// Not `arn:<partition>:sns:<region>:<account>:<topic>`.
    #[error("ARN is not arn:<partition>:sns:<region>:<account>:<topic>")]
    Malformed,
    /// A partition that AWS does not document.
    #[error("ARN names no AWS partition")]
    Partition,
    /// Not a region of the ARN's partition.
    #[error("ARN names no region of its partition")]
    Region,
    /// Not twelve digits.
    #[error("ARN's account is not twelve digits")]
    Account,
    /// Not 1 to 256 of `A-Za-z0-9_-`, with `.fifo` allowed at the end.
    #[error("ARN's topic name is not 1 to 256 of A-Z a-z 0-9 _ - with .fifo allowed at the end")]
    TopicName,
    /// The part after the topic is not a subscription id.
    #[error("ARN's subscription id is not 1 to 128 of A-Z a-z 0-9 -")]
    SubscriptionId,
}

impl Refusal for ArnError {
    fn reason(&self) -> &'static str {
        match self {
            Self::TooLong => "topic-arn-too-long",
            Self::Malformed => "topic-arn-malformed",
            Self::Partition => "topic-arn-partition",
            Self::Region => "topic-arn-region",
            Self::Account => "topic-arn-account",
            Self::TopicName => "topic-arn-name",
            Self::SubscriptionId => "subscription-arn-malformed",
        }
    }

    fn kind(&self) -> RefusalKind {
        RefusalKind::Malformed
    }
}

/// An AWS partition: a set of regions with its own credentials, domain names and signing certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Partition {
    /// The commercial regions.
    Aws,
    /// China.
    AwsCn,
    /// GovCloud (US).
    AwsUsGov,
    /// ISO (US).
    AwsIso,
    /// ISOB (US).
    AwsIsoB,
    /// ISOE (Europe).
    AwsIsoE,
    /// ISOF.
    AwsIsoF,
    /// European Sovereign Cloud.
    AwsEusc,
}

impl Partition {
    /// Every documented partition.
    pub const ALL: [Self; 8] = [
        Self::Aws,
        Self::AwsCn,
        Self::AwsUsGov,
        Self::AwsIso,
        Self::AwsIsoB,
        Self::AwsIsoE,
        Self::AwsIsoF,
        Self::AwsEusc,
    ];

    /// The name as it stands in an ARN.
    pub fn name(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::AwsCn => "aws-cn",
            Self::AwsUsGov => "aws-us-gov",
            Self::AwsIso => "aws-iso",
            Self::AwsIsoB => "aws-iso-b",
            Self::AwsIsoE => "aws-iso-e",
            Self::AwsIsoF => "aws-iso-f",
            Self::AwsEusc => "aws-eusc",
        }
    }

    /// The domain under which its endpoints live (`partitions.json` of the AWS SDKs).
    pub fn dns_suffix(self) -> &'static str {
        match self {
            Self::Aws | Self::AwsUsGov => "amazonaws.com",
            Self::AwsCn => "amazonaws.com.cn",
            Self::AwsIso => "c2s.ic.gov",
            Self::AwsIsoB => "sc2s.sgov.gov",
            Self::AwsIsoE => "cloud.adc-e.uk",
            Self::AwsIsoF => "csp.hci.ic.gov",
            Self::AwsEusc => "amazonaws.eu",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|partition| partition.name() == name)
    }

    /// The region patterns of `partitions.json`, by hand: a region of one partition never matches another's.
    fn owns(self, region: &str) -> bool {
        let (Some((place, number)), mut parts) = (region.rsplit_once('-'), [""; PLACE_PARTS_MAX])
        else {
            return false;
        };
        let mut count = 0;
        for part in place.split('-') {
            let Some(slot) = parts.get_mut(count) else {
                return false;
            };
            *slot = part;
            count += 1;
        }
        let place = &parts[..count];
        let letters =
            |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase());
        let numbered =
            matches!(number.len(), 1 | 2) && number.bytes().all(|byte| byte.is_ascii_digit());
        if region.len() > REGION_MAX_BYTES || !numbered || !place.iter().all(letters) {
            return false;
        }
        match (self, place) {
            (Self::Aws, [area, _]) => area.len() == 2 && *area != "cn",
            (Self::AwsCn, [area, _]) => *area == "cn",
            (Self::AwsUsGov, [area, kind, _]) => (*area, *kind) == ("us", "gov"),
            (Self::AwsIso, [area, kind, _]) => (*area, *kind) == ("us", "iso"),
            (Self::AwsIsoB, [area, kind, _]) => (*area, *kind) == ("us", "isob"),
            (Self::AwsIsoE, [area, kind, _]) => (*area, *kind) == ("eu", "isoe"),
            (Self::AwsIsoF, [area, kind, _]) => (*area, *kind) == ("us", "isof"),
            (Self::AwsEusc, [area, country, _]) => *area == "eusc" && country.len() == 2,
            _ => false,
        }
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A region of a partition. Only names that fit the partition's documented pattern can be made.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Region {
    partition: Partition,
    name: Arc<str>,
}

impl Region {
    /// The region `name` of `partition`.
    ///
    /// # Errors
    /// [`ArnError::Region`] when the partition cannot have a region of that name.
    pub fn parse(partition: Partition, name: &str) -> Result<Self, ArnError> {
        if !partition.owns(name) {
            return Err(ArnError::Region);
        }
        Ok(Self {
            partition,
            name: name.into(),
        })
    }

    /// The partition it belongs to.
    pub fn partition(&self) -> Partition {
        self.partition
    }

    /// Its name, e.g. `eu-central-1`.
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// The host of its SNS endpoint, which also serves the signing certificates: `sns.<region>.<suffix>`.
    pub fn sns_host(&self) -> String {
        format!("sns.{}.{}", self.name, self.partition.dns_suffix())
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// `arn:<partition>:sns:<region>:<12 digits>:<name>`, checked. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicArn {
    text: Arc<str>,
    region: Region,
}

impl TopicArn {
    /// Parses a topic's ARN. What is accepted is kept byte for byte.
    ///
    /// # Errors
    /// The first rule of the ARN that the text breaks.
    pub fn parse(text: &str) -> Result<Self, ArnError> {
        if text.len() > ARN_MAX_BYTES {
            return Err(ArnError::TooLong);
        }
        let Some(["arn", partition, "sns", region, account, name]) = exactly(text.split(':'))
        else {
            return Err(ArnError::Malformed);
        };
        let partition = Partition::from_name(partition).ok_or(ArnError::Partition)?;
        let region = Region::parse(partition, region)?;
        if account.len() != ACCOUNT_BYTES || !account.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(ArnError::Account);
        }
        let stem = name.strip_suffix(".fifo").unwrap_or(name);
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if stem.is_empty() || name.len() > TOPIC_NAME_MAX_BYTES || !stem.bytes().all(word) {
            return Err(ArnError::TopicName);
        }
        Ok(Self {
            text: text.into(),
            region,
        })
    }

    /// The ARN as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The region it lives in.
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// The partition it lives in.
    pub fn partition(&self) -> Partition {
        self.region.partition
    }

    /// The twelve digits of the owning account.
    pub fn account(&self) -> &str {
        self.text.rsplit(':').nth(1).unwrap_or_default()
    }

    /// The topic's name.
    pub fn name(&self) -> &str {
        self.text.rsplit(':').next().unwrap_or_default()
    }

    /// Whether it is a FIFO topic. AWS never delivers those to HTTP(S).
    pub fn is_fifo(&self) -> bool {
        self.text.ends_with(".fifo")
    }
}

/// So many parts, no more and no fewer.
fn exactly<'a, const COUNT: usize>(
    mut parts: impl Iterator<Item = &'a str>,
) -> Option<[&'a str; COUNT]> {
    let mut exactly = [""; COUNT];
    for part in &mut exactly {
        *part = parts.next()?;
    }
    parts.next().is_none().then_some(exactly)
}

/// A topic's ARN, a colon and the subscription's id.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriptionArn {
    text: Arc<str>,
    topic: TopicArn,
}

impl SubscriptionArn {
    /// Parses a subscription's ARN.
    ///
    /// # Errors
    /// The first rule that the text breaks.
    pub fn parse(text: &str) -> Result<Self, ArnError> {
        if text.len() > ARN_MAX_BYTES {
            return Err(ArnError::TooLong);
        }
        let (topic, id) = text.rsplit_once(':').ok_or(ArnError::Malformed)?;
        let topic = TopicArn::parse(topic)?;
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if id.is_empty() || id.len() > SUBSCRIPTION_ID_MAX_BYTES || !id.bytes().all(word) {
            return Err(ArnError::SubscriptionId);
        }
        Ok(Self {
            text: text.into(),
            topic,
        })
    }

    /// The ARN as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The topic that is subscribed to.
    pub fn topic(&self) -> &TopicArn {
        &self.topic
    }
}

/// Both ARN types are their text wherever they are written or read.
macro_rules! text_form {
    ($type:ident) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.text)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($type), self.text)
            }
        }

        impl FromStr for $type {
            type Err = ArnError;

            fn from_str(text: &str) -> Result<Self, ArnError> {
                Self::parse(text)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.text)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::parse(&text).map_err(de::Error::custom)
            }
        }
    };
}

text_form!(TopicArn);
text_form!(SubscriptionArn);
