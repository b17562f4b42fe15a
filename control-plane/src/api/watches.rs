//! How many watches callers have: each costs something with every commit of the installation.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use signalbox_model::error::Error;

use crate::auth::Caller;

/// Watches of one subject at one replica.
const OF_ONE_MAX: usize = 100;

/// The watches at this replica, by whose they are. Cheap to clone; clones are one.
#[derive(Clone, Debug, Default)]
pub(super) struct Watches(Arc<Mutex<HashMap<String, usize>>>);

/// A watch among the others, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    watches: Watches,
    subject: String,
}

impl Watches {
    /// A place for one more of a caller's.
    ///
    /// # Errors
    /// `Exhausted`.
    pub(super) fn enter(&self, caller: &Caller) -> Result<Place, Error> {
        self.enter_as(caller.actor("").subject)
    }

    fn enter_as(&self, subject: String) -> Result<Place, Error> {
        let mut all = self.lock();
        let open = all.entry(subject.clone()).or_default();
        if *open >= OF_ONE_MAX {
            return Err(Error::Exhausted {
                message: format!(
                    "{subject:?} has {OF_ONE_MAX} watches here, which is as many as one may have: \
                     end one first, or watch the project instead of its executions"
                ),
            });
        }
        *open += 1;
        drop(all);
        Ok(Place {
            watches: self.clone(),
            subject,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.watches.lock();
        if let Some(open) = all.get_mut(&self.subject) {
            *open -= 1;
            if *open == 0 {
                all.remove(&self.subject);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn one_has_so_many_and_others_have_theirs() {
        let watches = Watches::default();
        let enter = |subject: &str| watches.enter_as(subject.to_owned());
        let mut places: Vec<_> = (0..OF_ONE_MAX).map(|_| enter("ann").unwrap()).collect();
        let refused = enter("ann").unwrap_err();
        assert!(matches!(&refused, Error::Exhausted { message } if message.contains("\"ann\"")));
        places.push(enter("ben").unwrap());
        places.remove(0);
        places.push(enter("ann").unwrap());
        assert!(enter("ann").is_err());
        drop(places);
        assert!(watches.lock().is_empty(), "nobody is remembered");
    }
}
