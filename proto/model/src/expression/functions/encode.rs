//! `hex`, `json` and `url`: texts that stand for other values.

use cel::{
    DeclarationError, Env, ExecutionError, Value as CelValue,
    common::{
        types::{DYN_TYPE, STRING_TYPE},
        value::CowVal,
    },
};
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::{
    super::{
        args::{Args, Given, text},
        budget::spend,
        cel::to_json,
        scope::to_cel,
    },
    bytes, given_bytes, given_text, texts_and_bytes,
};

/// All but the unreserved characters of RFC 3986 §2.3.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Bytes of JSON text for a unit: `[1,1,1]` has a value in two of them.
const JSON_BYTES_PER_UNIT: usize = 4;

pub(super) fn declare(env: &mut Env) -> Result<(), DeclarationError> {
    let one = || vec![STRING_TYPE];
    for kind in texts_and_bytes() {
        let id = format!("hex.encode({})", kind.name());
        env.add_overload("hex.encode", &id, vec![kind], hex_encode)?;
    }
    env.add_overload("hex.decode", "hex.decode(string)", one(), hex_decode)?;
    let any = vec![DYN_TYPE];
    env.add_overload("json.encode", "json.encode(dyn)", any, json_encode)?;
    env.add_overload("json.parse", "json.parse(string)", one(), json_parse)?;
    env.add_overload("url.encode", "url.encode(string)", one(), url_encode)?;
    env.add_overload("url.decode", "url.decode(string)", one(), url_decode)
}

fn hex_encode<'b, 'v>(args: Args<'b, 'v>) -> Given<'b, 'v> {
    given_text(HEXLOWER.encode(bytes(&args, 0)?))
}

fn hex_decode<'b, 'v>(args: Args<'b, 'v>) -> Given<'b, 'v> {
    HEXLOWER_PERMISSIVE
        .decode(text(&args, 0)?.as_bytes())
        .map_err(|error| ExecutionError::function_error("hex.decode", error))
        .and_then(given_bytes)
}

/// Members come in the order of their names, so that equal values give equal texts.
fn json_encode<'b, 'v>(args: Args<'b, 'v>) -> Given<'b, 'v> {
    let failed = |problem: String| ExecutionError::function_error("json.encode", problem);
    let value = args
        .first()
        .ok_or_else(ExecutionError::missing_argument_or_target)?;
    let value = CelValue::try_from(value.as_ref())?;
    let json = to_json(&value).map_err(|kind| failed(format!("JSON cannot hold a {kind}")))?;
    given_text(json.to_string())
}

fn json_parse<'b, 'v>(args: Args<'b, 'v>) -> Given<'b, 'v> {
    let text = text(&args, 0)?;
    spend(text.len() / JSON_BYTES_PER_UNIT);
    let value = serde_json::from_str(text)
        .map_err(|error| ExecutionError::function_error("json.parse", error))?;
    Ok(CowVal::Owned(to_cel(&value)))
}

fn url_encode<'b, 'v>(args: Args<'b, 'v>) -> Given<'b, 'v> {
    given_text(utf8_percent_encode(text(&args, 0)?, RESERVED).to_string())
}

fn url_decode<'b, 'v>(args: Args<'b, 'v>) -> Given<'b, 'v> {
    percent_decode_str(text(&args, 0)?)
        .decode_utf8()
        .map_err(|_| ExecutionError::function_error("url.decode", "the bytes are no UTF-8"))
        .and_then(|decoded| given_text(decoded.into_owned()))
}
