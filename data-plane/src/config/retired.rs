//! Values that secrets had: an execution that sent one may be answered with it long after it was replaced. They are looked for in
//! what is recorded, and nothing else.

use std::time::Duration;

use imbl::HashMap;
use jiff::Timestamp;
use signalbox_model::{config::Resource, ids::SecretName, secret::Secret};

use super::{Change, Snapshot};

/// How long after its end a value is looked for: an execution takes no longer than 30 days, and an hour for its `finally` steps.
const KEPT_FOR: Duration = Duration::from_secs(31 * 24 * 3600);
/// Values of one secret that are looked for: the newest.
pub(super) const KEPT_MAX: u16 = 8;
/// Values of all secrets together. The oldest go.
pub(super) const ALL_KEPT_MAX: u16 = 4096;

/// The values that secrets had. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Retired {
    /// From the oldest to the newest.
    by_name: HashMap<SecretName, Vec<Old>>,
    count: usize,
}

#[derive(Clone, Debug)]
struct Old {
    value: Secret,
    until: Timestamp,
}

/// When a value that is replaced at `now` is not looked for any more.
pub(super) fn kept_until(now: Timestamp) -> Timestamp {
    now.saturating_add(KEPT_FOR).unwrap_or(Timestamp::MAX)
}

impl Retired {
    /// The values that a secret had.
    pub(super) fn of<'a>(
        &'a self,
        name: &SecretName,
    ) -> impl Iterator<Item = &'a Secret> + use<'a> {
        let values = self.by_name.get(name);
        values.into_iter().flatten().map(|old| &old.value)
    }

    /// Takes up a value, newer than all others, until then.
    pub(super) fn add(&mut self, name: SecretName, value: Secret, until: Timestamp) {
        let values = self.by_name.entry(name).or_default();
        let before = values.len();
        values.retain(|old| old.value.expose() != value.expose());
        values.push(Old { value, until });
        if values.len() > usize::from(KEPT_MAX) {
            values.remove(0);
        }
        self.count = (self.count + values.len()).saturating_sub(before);
        while self.count > usize::from(ALL_KEPT_MAX) {
            self.drop_oldest();
        }
    }

    /// Drops what is not looked for any more.
    pub(super) fn drop_ended(&mut self, now: Timestamp) {
        let mut count = 0;
        self.by_name = std::mem::take(&mut self.by_name)
            .into_iter()
            .filter_map(|(name, mut values)| {
                values.retain(|old| old.until > now);
                count += values.len();
                (!values.is_empty()).then_some((name, values))
            })
            .collect();
        self.count = count;
    }

    fn drop_oldest(&mut self) {
        let first = |values: &Vec<Old>| values.first().map(|old| old.until);
        let oldest = self.by_name.iter().min_by_key(|(_, values)| first(values));
        let Some(name) = oldest.map(|(name, _)| name.clone()) else {
            self.count = 0;
            return;
        };
        if let Some(mut values) = self.by_name.remove(&name) {
            values.remove(0);
            self.count -= 1;
            if !values.is_empty() {
                self.by_name.insert(name, values);
            }
        }
    }
}

/// The values that end with `change`: of secrets that have another one then, or are gone.
pub(super) fn ending(change: &Change, before: &Snapshot) -> Vec<(SecretName, Secret)> {
    let mut ending = Vec::new();
    let mut end = |name: &SecretName, by: Option<&Secret>| {
        let ends = |value: &&Secret| by.is_none_or(|by| by.expose() != value.expose());
        if let Some(value) = before.secrets.get(name).filter(ends) {
            ending.push((name.clone(), value.clone()));
        }
    };
    let mut set = std::collections::HashSet::new();
    for upsert in &change.upserts {
        if let Resource::Secret(secret) = &upsert.resource {
            end(&secret.name, Some(&secret.value));
            set.insert(&secret.name);
        }
    }
    let deleted = change.deletes.iter();
    let deleted = deleted.filter_map(|name| name.parse::<SecretName>().ok());
    for name in deleted.filter(|name| !set.contains(name)) {
        end(&name, None);
    }
    if change.replaces_all {
        let kept = change.keep.iter();
        let kept = kept.filter_map(|name| name.parse::<SecretName>().ok());
        let kept: std::collections::HashSet<_> = kept.collect();
        let is_gone = |name: &&SecretName| !set.contains(name) && !kept.contains(*name);
        for name in before.secrets.keys().filter(is_gone) {
            end(name, None);
        }
    }
    ending
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    fn name(id: usize) -> SecretName {
        format!("projects/p/secrets/s{id}").parse().unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn values(retired: &Retired, id: usize) -> Vec<String> {
        let text = |secret: &Secret| String::from_utf8_lossy(secret.expose()).into_owned();
        retired.of(&name(id)).map(text).collect()
    }

    fn add(retired: &mut Retired, id: usize, value: &str, until: i64) {
        retired.add(name(id), Secret::new(value.into()), at(until));
    }

    #[test]
    fn values_are_kept_until_their_time_and_up_to_a_number() {
        let mut retired = Retired::default();
        for n in 0..10 {
            add(&mut retired, 1, &format!("v{n}"), n);
        }
        assert_eq!(values(&retired, 1).len(), usize::from(KEPT_MAX));
        // One that comes again is the newest.
        add(&mut retired, 1, "v5", 20);
        retired.drop_ended(at(6));
        assert_eq!(values(&retired, 1), ["v7", "v8", "v9", "v5"]);
        let all = usize::from(ALL_KEPT_MAX);
        for id in 2..=all {
            add(&mut retired, id, "v", 30);
        }
        assert_eq!(retired.count, all);
        assert_eq!(values(&retired, 1), ["v5"]);
        assert_eq!(values(&retired, all), ["v"]);
        retired.drop_ended(at(30));
        assert_eq!((retired.count, retired.by_name.len()), (0, 0));
    }
}
