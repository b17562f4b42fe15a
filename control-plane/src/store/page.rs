//! Keyset pages: newest first, by time and id, so that nothing is skipped or repeated while others write.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use signalbox_model::error::Error;

/// Rows of a page unless the request says so.
const SIZE_DEFAULT: u64 = 50;
/// Rows of a page at most.
const SIZE_MAX: u64 = 1000;

/// Which page (AIP-158).
#[derive(Clone, Debug)]
pub struct Page {
    /// Rows at most.
    pub size: u64,
    /// The row after which it begins: time in microseconds, and id.
    pub after: Option<(i64, String)>,
}

impl Page {
    /// From the fields of a request.
    ///
    /// # Errors
    /// When the size is negative or the token is none of ours.
    pub fn parse(size: i32, token: &str) -> Result<Self, Error> {
        let size = match u64::try_from(size) {
            Ok(0) => SIZE_DEFAULT,
            Ok(size) => size.min(SIZE_MAX),
            Err(_) => return Err(Error::invalid("page_size", "must not be negative")),
        };
        let after = if token.is_empty() {
            None
        } else {
            Some(decode(token).ok_or_else(|| {
                Error::invalid("page_token", "is not a next_page_token of this list")
            })?)
        };
        Ok(Self { size, after })
    }

    /// A page that begins at the newest row.
    #[must_use]
    pub fn first(size: u64) -> Self {
        Self { size, after: None }
    }

    /// The rows of this page, and the token of the next, of one row more than asked for.
    pub(super) fn of<T>(&self, mut rows: Vec<T>, key: impl Fn(&T) -> (i64, String)) -> PageOf<T> {
        let size = usize::try_from(self.size).unwrap_or(usize::MAX);
        let more = rows.len() > size;
        rows.truncate(size);
        let next_page_token = rows
            .last()
            .filter(|_| more)
            .map(|row| encode(&key(row)))
            .unwrap_or_default();
        PageOf {
            rows,
            next_page_token,
        }
    }
}

/// A page's rows.
#[derive(Clone, Debug)]
pub struct PageOf<T> {
    /// The rows, newest first.
    pub rows: Vec<T>,
    /// Token of the next page; empty on the last.
    pub next_page_token: String,
}

fn encode((time_us, id): &(i64, String)) -> String {
    URL_SAFE_NO_PAD.encode(format!("1.{time_us}.{id}"))
}

fn decode(token: &str) -> Option<(i64, String)> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
    let (version, rest) = text.split_once('.')?;
    let (time_us, id) = rest.split_once('.')?;
    (version == "1").then_some((time_us.parse().ok()?, id.to_owned()))
}

/// Orders a query newest first and begins it after the page's row; asks for one row more than the page holds.
macro_rules! keyset {
    ($query:expr, $page:expr, $time:expr, $id:expr) => {{
        use sea_orm::{
            ColumnTrait as _, Condition, QueryFilter as _, QueryOrder as _, QuerySelect as _,
        };
        let mut query = $query;
        if let Some((time_us, id)) = &$page.after {
            query = query.filter(
                Condition::any().add($time.lt(*time_us)).add(
                    Condition::all()
                        .add($time.eq(*time_us))
                        .add($id.lt(id.clone())),
                ),
            );
        }
        query
            .order_by_desc($time)
            .order_by_desc($id)
            .limit($page.size + 1)
    }};
}

pub(super) use keyset;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn tokens_round_trip_and_others_are_refused() {
        let token = encode(&(17, "a.b".to_owned()));
        let page = Page::parse(0, &token).unwrap();
        assert_eq!(page.after, Some((17, "a.b".to_owned())));
        assert_eq!(page.size, 50);
        for wrong in [
            "x",
            "!!!",
            &URL_SAFE_NO_PAD.encode("2.1.a"),
            &URL_SAFE_NO_PAD.encode("1.x.a"),
        ] {
            assert!(Page::parse(0, wrong).is_err(), "{wrong}");
        }
        assert!(Page::parse(-1, "").is_err());
        assert_eq!(Page::parse(9999, "").unwrap().size, 1000);
    }
}
