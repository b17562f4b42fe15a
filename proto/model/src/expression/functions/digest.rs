//! `hash`: digests, as bytes.

use aws_lc_rs::{
    digest::{self, Algorithm},
    hmac,
};
use cel::{DeclarationError, Env};
use md5::{Digest as _, Md5};

use super::{
    super::args::{Args, Given},
    bytes, given_bytes, texts_and_bytes,
};

pub(super) fn declare(env: &mut Env) -> Result<(), DeclarationError> {
    for kind in texts_and_bytes() {
        let id = |name: &str| format!("{name}({})", kind.name());
        let one = || vec![kind.to_owned()];
        env.add_overload("hash.md5", &id("hash.md5"), one(), md5)?;
        env.add_overload("hash.sha1", &id("hash.sha1"), one(), sha1)?;
        env.add_overload("hash.sha256", &id("hash.sha256"), one(), sha256)?;
        env.add_overload("hash.sha512", &id("hash.sha512"), one(), sha512)?;
        for message in texts_and_bytes() {
            let id = format!("hash.hmacSha256({},{})", kind.name(), message.name());
            let both = vec![kind.to_owned(), message];
            env.add_overload("hash.hmacSha256", &id, both, hmac_sha256)?;
        }
    }
    Ok(())
}

fn md5<'b, 'v>(args: Args<'b, 'v>) -> Given<'b, 'v> {
    given_bytes(Md5::digest(bytes(&args, 0)?).to_vec())
}

fn sha1<'b, 'v>(args: Args<'b, 'v>) -> Given<'b, 'v> {
    digest(&args, &digest::SHA1_FOR_LEGACY_USE_ONLY)
}

fn sha256<'b, 'v>(args: Args<'b, 'v>) -> Given<'b, 'v> {
    digest(&args, &digest::SHA256)
}

fn sha512<'b, 'v>(args: Args<'b, 'v>) -> Given<'b, 'v> {
    digest(&args, &digest::SHA512)
}

fn digest<'b, 'v>(args: &Args<'b, 'v>, algorithm: &'static Algorithm) -> Given<'b, 'v> {
    let digest = digest::digest(algorithm, bytes(args, 0)?);
    given_bytes(digest.as_ref().to_vec())
}

/// The key first, then the message (RFC 2104).
fn hmac_sha256<'b, 'v>(args: Args<'b, 'v>) -> Given<'b, 'v> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, bytes(&args, 0)?);
    given_bytes(hmac::sign(&key, bytes(&args, 1)?).as_ref().to_vec())
}
