//! Keyset pages, by time and id, so that nothing is skipped or repeated while others write; and the tokens that say where
//! one begins.

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sea_orm::{ConnectionTrait, EntityTrait, Iterable as _, ModelTrait, Select, Value};
use signalbox_model::error::Error;

use super::{EnrollmentTokenRow, RevokedTokenRow, entity, internal, rows};

/// Rows of a page unless the request says so.
const SIZE_DEFAULT: u64 = 50;
/// Rows of a page at most.
const SIZE_MAX: u64 = 1000;
/// Bytes of a page at most, unless it is one row: clients of gRPC take messages of 4 MiB, unless they are told otherwise.
pub const PAGE_MAX_BYTES: usize = 3 * 1024 * 1024;
/// Rows that are read at once at least, where more are wanted.
const READ_MIN: u64 = 16;
/// Bytes of a token's signature.
const SIGNATURE_BYTES: usize = 16;

/// Where something begins: after the row with this number (of a page: its time in microseconds), and this id.
pub type Position = (i64, String);

/// Makes and reads opaque tokens. Each is good for one list, as it was asked for: of one parent, by one filter, in one order
/// (AIP-158).
#[derive(Clone, Debug)]
pub struct Tokens(hmac::Key);

impl Tokens {
    /// By a key that all replicas share.
    #[must_use]
    pub fn new(key: hmac::Key) -> Self {
        Self(key)
    }

    /// The token of `position` in the list `of`.
    #[must_use]
    pub fn write(&self, of: &[&str], (number, id): &Position) -> String {
        let position = format!("{number}.{id}");
        let mut token = self.signature(of, &position).to_vec();
        token.extend_from_slice(position.as_bytes());
        URL_SAFE_NO_PAD.encode(token)
    }

    /// The position that [`Tokens::write`] made `token` of, for the same list. None: it did not.
    #[must_use]
    pub fn read(&self, of: &[&str], token: &str) -> Option<Position> {
        let token = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (signature, position) = token.split_at_checked(SIGNATURE_BYTES)?;
        let position = std::str::from_utf8(position).ok()?;
        aws_lc_rs::constant_time::verify_slices_are_equal(signature, &self.signature(of, position))
            .ok()?;
        let (number, id) = position.split_once('.')?;
        Some((number.parse().ok()?, id.to_owned()))
    }

    fn signature(&self, of: &[&str], position: &str) -> [u8; SIGNATURE_BYTES] {
        let mut context = hmac::Context::with_key(&self.0);
        for part in of.iter().chain([&position]) {
            // With their lengths: nothing moves from one part into the next.
            context.update(&part.len().to_be_bytes());
            context.update(part.as_bytes());
        }
        let mut signature = [0; SIGNATURE_BYTES];
        signature.copy_from_slice(&context.sign().as_ref()[..SIGNATURE_BYTES]);
        signature
    }
}

/// In which order of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The latest first.
    #[default]
    Descending,
    /// The earliest first.
    Ascending,
}

/// Which page (AIP-158).
#[derive(Clone, Debug)]
pub struct Page {
    /// Rows at most.
    pub size: u64,
    /// The row after which it begins.
    pub after: Option<Position>,
    /// In which order.
    pub order: Order,
}

impl Page {
    /// A page of `size` rows, as a request has it.
    ///
    /// # Errors
    /// When the size is negative.
    pub fn sized(size: i32) -> Result<Self, Error> {
        match u64::try_from(size) {
            Ok(0) => Ok(Self::first(SIZE_DEFAULT)),
            Ok(size) => Ok(Self::first(size.min(SIZE_MAX))),
            Err(_) => Err(Error::invalid("page_size", "must not be negative")),
        }
    }

    /// A page that begins at the newest row.
    #[must_use]
    pub fn first(size: u64) -> Self {
        Self {
            size,
            after: None,
            order: Order::default(),
        }
    }

    /// The rows of this page, and where the next one begins, of one row more than asked for.
    pub(super) fn of<T: Placed>(&self, mut rows: Vec<T>) -> PageOf<T> {
        let size = usize::try_from(self.size).unwrap_or(usize::MAX);
        let more = rows.len() > size;
        rows.truncate(size);
        let next = rows.last().filter(|_| more).map(T::position);
        PageOf { rows, next }
    }

    /// Reads the rows of this page by `query`, which asks for one row more than the page it is given holds. As many as may be
    /// large are never read at once: the page ends where its rows have [`PAGE_MAX_BYTES`].
    ///
    /// # Errors
    /// When the database fails.
    pub(super) async fn read<E: EntityTrait>(
        &self,
        db: &impl ConnectionTrait,
        query: impl Fn(&Self) -> Select<E>,
    ) -> Result<PageOf<E::Model>, Error>
    where
        E::Model: Placed + ModelTrait<Entity = E>,
    {
        let size = usize::try_from(self.size).unwrap_or(usize::MAX);
        let mut part = Self {
            size: self.size.min(SIZE_DEFAULT),
            ..self.clone()
        };
        let mut rows: Vec<E::Model> = Vec::new();
        let mut bytes = 0;
        loop {
            let found = query(&part).all(db).await.map_err(|e| internal(&e))?;
            let is_last = found.len() as u64 <= part.size;
            for row in found {
                bytes += bytes_of(&row);
                if rows.len() >= size || (bytes > PAGE_MAX_BYTES && !rows.is_empty()) {
                    let next = rows.last().map(Placed::position);
                    return Ok(PageOf { rows, next });
                }
                rows.push(row);
            }
            if is_last {
                return Ok(PageOf { rows, next: None });
            }
            part.after = rows.last().map(Placed::position);
            let fit = PAGE_MAX_BYTES.saturating_sub(bytes) / (bytes / rows.len().max(1)).max(1);
            let missing = self.size - (rows.len() as u64).min(self.size);
            part.size = missing.min(READ_MIN.max(fit as u64));
        }
    }
}

/// Bytes of what may be long in a row.
fn bytes_of<M: ModelTrait>(row: &M) -> usize {
    let columns = <M::Entity as EntityTrait>::Column::iter();
    let bytes = columns.map(|column| match row.get(column) {
        Value::String(Some(text)) => text.len(),
        Value::Bytes(Some(bytes)) => bytes.len(),
        _ => 0,
    });
    bytes.sum()
}

/// What has a place in the order of its list.
pub trait Placed {
    /// The place.
    fn position(&self) -> Position;
}

/// Of rows that are ordered by a time and an id.
macro_rules! placed {
    ($($row:ty: $time:ident;)+) => {
        $(
            impl Placed for $row {
                fn position(&self) -> Position {
                    (self.$time, self.id.clone())
                }
            }
        )+
    };
}

placed! {
    rows::ApiKey: create_time_us;
    rows::Delivery: receive_time_us;
    rows::Execution: create_time_us;
    rows::Node: connect_time_us;
    rows::Project: create_time_us;
    rows::Secret: create_time_us;
    rows::Subscription: create_time_us;
    rows::Workflow: create_time_us;
    entity::deleted_resource::Model: create_time_us;
    EnrollmentTokenRow: create_time_us;
    RevokedTokenRow: revoke_time_us;
}

impl Placed for rows::WorkflowVersion {
    fn position(&self) -> Position {
        (self.version, "v".to_owned())
    }
}

/// A page's rows.
#[derive(Clone, Debug)]
pub struct PageOf<T> {
    /// The rows, in the page's order.
    pub rows: Vec<T>,
    /// The row after which the next page begins; none on the last.
    pub next: Option<Position>,
}

/// Orders a query by time and begins it after the page's row; asks for one row more than the page holds.
macro_rules! keyset {
    ($query:expr, $page:expr, $time:expr, $id:expr) => {{
        use sea_orm::{
            ColumnTrait as _, Condition, QueryFilter as _, QueryOrder as _, QuerySelect as _,
        };
        use $crate::store::Order;
        let mut query = $query;
        let is_ascending = $page.order == Order::Ascending;
        if let Some((time_us, id)) = &$page.after {
            let (not_before, later, same) = if is_ascending {
                ($time.gte(*time_us), $time.gt(*time_us), $id.gt(id.clone()))
            } else {
                ($time.lte(*time_us), $time.lt(*time_us), $id.lt(id.clone()))
            };
            // The first says where an index is to be entered; by the others alone it would be read from its end.
            query = query.filter(not_before).filter(
                Condition::any()
                    .add(later)
                    .add(Condition::all().add($time.eq(*time_us)).add(same)),
            );
        }
        let order = if is_ascending {
            sea_orm::Order::Asc
        } else {
            sea_orm::Order::Desc
        };
        query
            .order_by($time, order.clone())
            .order_by($id, order)
            .limit($page.size + 1)
    }};
}

pub(super) use keyset;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    fn tokens(key: &[u8]) -> Tokens {
        Tokens::new(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    #[test]
    fn a_token_is_good_for_its_list_only() {
        let ours = tokens(b"ours");
        let position = (17, "a.b".to_owned());
        let token = ours.write(&["list", "projects/p", "state"], &position);
        assert_eq!(
            ours.read(&["list", "projects/p", "state"], &token),
            Some(position)
        );
        for of in [
            &["list", "projects/q", "state"][..],
            &["list", "projects/p"],
            &["list", "projects/ps", "tate"],
            &["list", "projects/p", "state", ""],
        ] {
            assert_eq!(ours.read(of, &token), None, "{of:?}");
        }
        let of = ["list", "projects/p", "state"];
        assert_eq!(tokens(b"others").read(&of, &token), None);
        for n in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[n] = if changed[n] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            // The last character may hold bits that mean nothing; those the decoder refuses.
            assert_eq!(ours.read(&of, &changed), None, "{changed}");
        }
        for wrong in ["", "x", "!!!", &token[..10]] {
            assert_eq!(ours.read(&of, wrong), None, "{wrong}");
        }
    }

    #[test]
    fn sizes_are_bounded() {
        assert_eq!(Page::sized(0).unwrap().size, 50);
        assert_eq!(Page::sized(9999).unwrap().size, 1000);
        assert!(Page::sized(-1).is_err());
    }
}
