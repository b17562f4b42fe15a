//! The services, by name. `services.txt` is made of the service models of the AWS SDK by `tests/tools/aws_services.py`.

use std::{collections::BTreeMap, sync::LazyLock};

use super::{Flattening, Protocol, Service};

static SERVICES: LazyLock<BTreeMap<&'static str, Service>> = LazyLock::new(|| {
    let lines = include_str!("services.txt").lines();
    let services = lines.filter_map(read);
    services.map(|service| (service.name, service)).collect()
});

/// All that are known.
pub(super) fn all() -> impl Iterator<Item = &'static Service> {
    SERVICES.values()
}

/// The one called `name`, or, when none is, the first whose hosts begin with it.
pub(super) fn find(name: &str) -> Option<&'static Service> {
    let by_host = || all().find(|service| service.endpoint == name);
    SERVICES.get(name).or_else(by_host)
}

/// Name, first label of the host, name in signatures (`-`: the name), protocol and what it needs; [`None`] for a comment.
fn read(line: &'static str) -> Option<Service> {
    let mut words = line.split(' ');
    let name = words.next().filter(|name| *name != "#")?;
    let mut named = || {
        let word = words.next()?;
        Some(if word == "-" { name } else { word })
    };
    let (endpoint, signing_name) = (named()?, named()?);
    let query = |version, flattening| Protocol::Query {
        version,
        flattening,
    };
    let protocol = match words.next()? {
        "ec2" => query(words.next()?, Flattening::Ec2),
        "query" => query(words.next()?, Flattening::Member),
        "query-plain" => query(words.next()?, Flattening::Plain),
        "json" => Protocol::Json {
            version: words.next()?,
            target: words.next()?,
        },
        "rest-json" => Protocol::RestJson,
        "rest-xml" => Protocol::RestXml,
        _ => return None,
    };
    Some(Service {
        name,
        endpoint,
        signing_name,
        protocol,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_read_whole() {
        let lines = include_str!("services.txt").lines();
        let said = lines.filter(|line| !line.starts_with('#')).count();
        assert!(said > 200, "{said}");
        assert_eq!(SERVICES.len(), said);
    }
}
