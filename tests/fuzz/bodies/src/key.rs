//! The API key that a request presents.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue, Uri};
use signalbox_data_plane::fuzzing::presented_key;

use crate::Target;

/// The target.
pub const TARGET: Target = Target {
    name: "key",
    body,
    mutations: 20_000,
    tokens: &[
        "\n",
        "\nk",
        "\na",
        "x-api-key",
        "x-api-key=",
        "X-Api-Key=",
        "&",
        "%26",
        "%3D",
        "%00",
        "%ff",
        "+",
        "%2B",
        "Basic ",
        "basic ",
        "Bearer ",
        "dTpr",
        "dTpr\t",
        "OnNia19r",
        "sbk_k",
    ],
};

/// The first line is the query; a following one that begins with `k` is a header `x-api-key`, with `a` an `authorization`.
pub fn body(bytes: &[u8]) {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let target = [b"/?", lines.next().unwrap_or_default()].concat();
    // What hyper takes for a target.
    let Ok(uri) = Uri::try_from(target) else {
        return;
    };
    let mut headers = HeaderMap::new();
    let (mut in_headers, mut in_basic) = (Vec::new(), Vec::new());
    for line in lines {
        let Some((name, value)) = line.split_first() else {
            continue;
        };
        let Ok(parsed) = HeaderValue::from_bytes(value) else {
            continue;
        };
        match name {
            b'k' => {
                headers.append("x-api-key", parsed);
                in_headers.push(String::from_utf8_lossy(value).into_owned());
            }
            b'a' => {
                headers.append("authorization", parsed);
                in_basic.extend(password(value));
            }
            _ => {}
        }
    }
    let in_query = of_query(uri.query().unwrap_or_default());
    let repeated = in_query.len() > 1;
    let all: Vec<String> = in_headers
        .into_iter()
        .chain(in_query)
        .chain(in_basic)
        .collect();
    let expected = match all.as_slice() {
        _ if repeated => Err("key-repeated"),
        [] => Err("key-missing"),
        [first, rest @ ..] if rest.iter().all(|other| other == first) => Ok(first.clone()),
        _ => Err("keys-differ"),
    };
    let found = presented_key(&headers, uri.query());
    assert_eq!(found.map(std::borrow::Cow::into_owned), expected);
}

/// Values of `x-api-key` in a query (WHATWG URL, but for a plus, which stays one).
fn of_query(query: &str) -> Vec<String> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs
        .filter(|(name, _)| decoded(name) == "x-api-key")
        .map(|(_, value)| decoded(value))
        .collect()
}

fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let digit = |at: usize| char::from(*bytes.get(at)?).to_digit(16);
    let (mut out, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        match (bytes[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push(u8::try_from(16 * high + low).unwrap());
                at += 3;
            }
            (byte, ..) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The password of Basic credentials (RFC 7617), where there is one.
fn password(value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?;
    let credentials = text
        .get(..6)
        .filter(|scheme| scheme.eq_ignore_ascii_case("basic "))?;
    let decoded = STANDARD.decode(text[credentials.len()..].trim()).ok()?;
    let (_, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some(password.to_owned())
}
