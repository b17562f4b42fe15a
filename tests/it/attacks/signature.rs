//! Signatures that prove nothing, and bodies that two readers could read differently.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE},
};
use signalbox_sns::{SignatureVersion, signer::Signer};

use super::support::{Case, Letter, Post, Stage, TOPIC};

const INVALID: (u16, &str) = (403, "signature-invalid");
const TAKEN: (u16, &str) = (200, "");

type Expected = (u16, &'static str);

/// A genuine letter for each name, so that none is another's duplicate.
struct Forge<'a> {
    stage: &'a Stage,
    cases: Vec<Case>,
}

impl Forge<'_> {
    fn id(&self) -> String {
        format!("signature-{}", self.cases.len())
    }

    /// `change` is done to a genuine Notification after it was signed.
    fn after(&mut self, name: &str, expected: Expected, change: impl Fn(Letter) -> Letter) {
        let letter = change(self.stage.signing.notification(&self.id()));
        self.letter(name, expected, &letter);
    }

    /// `before` is done to a Notification, then it is signed, then `after`.
    fn around(
        &mut self,
        name: &str,
        expected: Expected,
        before: impl Fn(Letter) -> Letter,
        after: impl Fn(Letter) -> Letter,
    ) {
        let letter = before(Letter::notification(&self.id()));
        self.letter(name, expected, &after(self.stage.signing.sign(letter)));
    }

    fn letter(&mut self, name: &str, expected: Expected, letter: &Letter) {
        self.post(name, expected, self.stage.post(letter));
    }

    /// The body of a genuine Notification, changed as bytes.
    fn bytes(&mut self, name: &str, expected: Expected, change: impl Fn(String) -> Vec<u8>) {
        let letter = self.stage.signing.notification(&self.id());
        let body = change(letter.body());
        self.post(name, expected, self.stage.post(&letter).body(body));
    }

    fn post(&mut self, name: &str, (status, reason): Expected, post: Post) {
        let id = self.id();
        let case = Case::new(name, post, status, reason);
        self.cases.push(match reason {
            // Signed for another id: what is shown is what the letter claims.
            "signature-invalid" => case,
            _ => case.shows(&id, TOPIC),
        });
    }
}

fn values(forge: &mut Forge<'_>) {
    let missing = (403, "signature-missing");
    forge.after("no signature", missing, |l| l.without("Signature"));
    forge.after("empty", missing, |l| l.with("Signature", ""));
    forge.after("no version", missing, |l| l.without("SignatureVersion"));
    let not_base64 = (403, "signature-not-base64");
    for text in ["!!!", "a", "ü", "deadbeef==="] {
        forge.after(text, not_base64, |l| l.with("Signature", text));
    }
    forge.after("line breaks in it", not_base64, |l| {
        let text = l.text("Signature").unwrap();
        l.with("Signature", &format!("{}\n{}", &text[..76], &text[76..]))
    });
    // 0xff decodes to `/` or `_`: a signature that differs in alphabet only.
    forge.after("the URL's alphabet", not_base64, |l| {
        l.with("Signature", &URL_SAFE.encode([0xff; 256]))
    });
    for length in [1, 255, 256, 257, 512] {
        forge.after(&format!("{length} zeros"), INVALID, |l| {
            l.with("Signature", &STANDARD.encode(vec![0; length]))
        });
    }
    forge.after("with one more byte", INVALID, |l| {
        let mut bytes = STANDARD.decode(l.text("Signature").unwrap()).unwrap();
        bytes.push(0);
        l.with("Signature", &STANDARD.encode(bytes))
    });
    let other = forge.stage.signing.notification("another-message");
    forge.after("of another message", INVALID, |l| l.signature_of(&other));
    let stranger = Signer::generate().unwrap();
    let url = forge.stage.origin.certificate_url();
    forge.around(
        "of another key",
        INVALID,
        |l| l,
        |l| l.sign(&stranger, SignatureVersion::V2, &url),
    );
}

fn versions(forge: &mut Forge<'_>) {
    let (signer, url) = (
        forge.stage.signing.signer.clone(),
        forge.stage.origin.certificate_url(),
    );
    let by = |l: Letter, version| l.sign(&signer, version, &url);
    forge.around(
        "version 1 is known",
        TAKEN,
        |l| l,
        |l| by(l, SignatureVersion::V1),
    );
    forge.around(
        "2 over 1",
        INVALID,
        |l| l,
        |l| by(l, SignatureVersion::V1).with("SignatureVersion", "2"),
    );
    forge.after("1 over 2", INVALID, |l| l.with("SignatureVersion", "1"));
    for version in ["3", "0", "02", "2 ", "v2", "２", "1,2"] {
        forge.after(version, (403, "signature-version-unsupported"), |l| {
            l.with("SignatureVersion", version)
        });
    }
    for version in ["2", "2.0", "null", "[\"2\"]"] {
        forge.after(&format!("as {version}"), (400, "field-wrong-type"), |l| {
            l.raw("SignatureVersion", version)
        });
    }
}

fn fields(forge: &mut Forge<'_>) {
    let subject = |l: Letter| l.with("Subject", "to be read");
    forge.around("a subject is signed", TAKEN, subject, |l| l);
    forge.around("null is none", TAKEN, |l| l, |l| l.raw("Subject", "null"));
    forge.around("subject added", INVALID, |l| l, subject);
    forge.around("subject removed", INVALID, subject, |l| {
        l.without("Subject")
    });
    forge.around("subject nulled", INVALID, subject, |l| {
        l.raw("Subject", "null")
    });
    forge.around("subject emptied", INVALID, subject, |l| {
        l.with("Subject", "")
    });
    forge.around(
        "empty subject added",
        INVALID,
        |l| l,
        |l| l.with("Subject", ""),
    );
    forge.after("message", INVALID, |l| l.with("Message", "another"));
    forge.after("time", INVALID, |l| {
        l.with("Timestamp", "2026-11-24T00:00:00.000Z")
    });
    forge.after("id", INVALID, |l| {
        l.with("MessageId", "fresh")
            .header("x-amz-sns-message-id", "fresh")
    });
    let composed = |l: Letter| l.with("Message", "caf\u{e9}");
    forge.around("decomposed", INVALID, composed, |l| {
        l.with("Message", "cafe\u{301}")
    });
    let face = |l: Letter| l.with("Message", "\u{1f600}");
    forge.around("escaped surrogates are the same text", TAKEN, face, |l| {
        l.raw("Message", r#""\ud83d\ude00""#)
    });
    for half in [r#""\ud83d""#, r#""\ude00\ud83d""#, r#""\ud83dx""#] {
        forge.around(half, (400, "field-wrong-type"), face, |l| {
            l.raw("Message", half)
        });
    }
    for kind in ["SubscriptionConfirmation", "UnsubscribeConfirmation"] {
        let id = forge.id();
        let letter = forge.stage.signing.sign(Letter::confirmation(kind, &id));
        let claimed = letter
            .with("Type", "Notification")
            .header("x-amz-sns-message-type", "Notification");
        forge.letter(&format!("{kind} as Notification"), INVALID, &claimed);
        let id = forge.id();
        let (token, url) = ("x".repeat(40), "https://sns.us-east-1.amazonaws.com/");
        forge.after(&format!("Notification as {kind} ({id})"), INVALID, |l| {
            l.with("Type", kind)
                .with("Token", &token)
                .with("SubscribeURL", url)
                .header("x-amz-sns-message-type", kind)
        });
    }
}

/// One string to sign, two messages: only the one that holds its newlines where a publisher may put them is believed.
fn two_readings(forge: &mut Forge<'_>) {
    let control = (400, "field-control-character");
    let real = forge.id();
    let text = format!("said\nMessageId\n{real}-b\nSubject\nx");
    let genuine = forge
        .stage
        .signing
        .sign(Letter::notification(&real).with("Message", &text));
    forge.letter("as the publisher wrote it", TAKEN, &genuine);
    let reread = genuine
        .clone()
        .with("Message", "said")
        .with("Subject", &format!("x\nMessageId\n{real}"));
    let id = forge.id();
    let forged = format!("{real}-b");
    assert_ne!(id, forged);
    let letter = reread
        .with("MessageId", &forged)
        .header("x-amz-sns-message-id", &forged);
    let case = Case::new(
        "read again",
        forge.stage.post(&letter),
        control.0,
        control.1,
    );
    forge.cases.push(case.shows(&forged, TOPIC));
    for key in ["MessageId", "Timestamp", "TopicArn", "Type"] {
        for character in ["\n", "\r", "\u{0}", "\u{2028}", "\u{85}"] {
            forge.after(&format!("{key} with {character:?}"), control, |l| {
                let text = l.text(key).unwrap();
                l.with(key, &format!("{text}{character}x"))
            });
        }
    }
}

fn bodies(forge: &mut Forge<'_>) {
    let twice = (400, "field-duplicate");
    forge.after("signed first, used last", twice, |l| {
        l.also("Message", "\"another\"")
    });
    forge.after("signed last, used first", twice, |l| {
        l.first("Message", "\"another\"")
    });
    forge.after("twice, once escaped", twice, |l| {
        l.also(r#""Mess\u0061ge""#, "\"another\"")
    });
    forge.after("unknown twice", twice, |l| l.also("X", "1").also("X", "1"));
    let alias = (400, "field-alias");
    for key in [
        "message",
        "MESSAGE",
        "SigningCertUrl",
        "Meſſage",
        "messageid",
    ] {
        forge.after(key, alias, |l| l.also(key, "\"another\""));
    }
    forge.after("signature in lower case", alias, |l| {
        let text = l.text("Signature").unwrap();
        l.without("Signature").with("signature", &text)
    });
    for kind in ["notification", "NOTIFICATION", "Notification ", "Raw"] {
        forge.after(kind, (400, "message-type-unknown"), |l| {
            l.with("Type", kind)
        });
    }
    for (key, json) in [
        ("Message", "5"),
        ("Message", "{\"a\":1}"),
        ("MessageId", "17"),
        ("Timestamp", "1764000000"),
        ("TopicArn", "[\"arn\"]"),
        ("Type", "true"),
        ("Signature", "0"),
        ("Subject", "false"),
    ] {
        forge.after(
            &format!("{key} as {json}"),
            (400, "field-wrong-type"),
            |l| l.raw(key, json),
        );
    }
    for depth in [100, 100_000] {
        forge.after(&format!("{depth} deep"), (400, "body-too-deep"), |l| {
            l.also("X", &format!("{}{}", "[".repeat(depth), "]".repeat(depth)))
        });
    }
    forge.bytes("trailing garbage", (400, "body-trailing-data"), |body| {
        format!("{body}{{}}").into_bytes()
    });
    forge.bytes("a second message", (400, "body-trailing-data"), |body| {
        format!("{body}\n{body}").into_bytes()
    });
    forge.bytes("byte order mark", (400, "body-byte-order-mark"), |body| {
        format!("\u{feff}{body}").into_bytes()
    });
    forge.bytes("UTF-16", (400, "body-not-utf8"), |body| {
        let units = std::iter::once(0xfeff).chain(body.encode_utf16());
        units.flat_map(u16::to_le_bytes).collect()
    });
    forge.bytes("Latin 1", (400, "body-not-utf8"), |body| {
        let bytes = body.into_bytes();
        [&bytes[..bytes.len() - 2], b"\xe9\"}"].concat()
    });
    forge.bytes("broken off", (400, "body-not-json"), |body| {
        body.into_bytes()[..100].to_vec()
    });
    forge.bytes("an array", (400, "body-not-json-object"), |body| {
        format!("[{body}]").into_bytes()
    });
    forge.bytes("a megabyte of white space", TAKEN, |body| {
        format!("{}{body}", " ".repeat(1 << 20)).into_bytes()
    });
    forge.bytes("ten megabytes of it", (413, "body-too-large"), |body| {
        format!("{}{body}", " ".repeat(10 << 20)).into_bytes()
    });
    let letter = forge.stage.signing.notification(&forge.id());
    let blank = " ".repeat(10 << 20);
    let chunk = format!("{:x}\r\n{blank}\r\n0\r\n\r\n", blank.len());
    let post = forge
        .stage
        .post(&letter)
        .header("transfer-encoding", "chunked");
    forge.post(
        "ten megabytes unannounced",
        (413, "body-too-large"),
        post.body(chunk),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_signature_does_not_prove_does_not_run() {
    let stage = Stage::start().await;
    let flow = stage.flow().await;
    let mut forge = Forge {
        stage: &stage,
        cases: Vec::new(),
    };
    values(&mut forge);
    versions(&mut forge);
    fields(&mut forge);
    two_readings(&mut forge);
    bodies(&mut forge);
    let cases = forge.cases;
    let answers = stage.judge(&cases, flow).await;
    let taken = cases.iter().filter(|case| case.status == 200).count();
    assert_eq!(
        answers.iter().filter(|a| !a.execution().is_empty()).count(),
        taken
    );
    assert_eq!(
        stage.origin.hits().len(),
        1,
        "one certificate, fetched once"
    );
}
