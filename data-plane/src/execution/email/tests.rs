//! Against an SMTP server of the tests' own, over real sockets and real TLS.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod server;

use serde_json::json;
use signalbox_model::execution::ExecutionState;

use self::server::{Manner, Server};
use super::super::tests::support::{World, attempts, code_of, finished, output_of};

/// A workflow with one message through `server`, with `more` of the step, `access` of the server and `extra` of the message.
fn definition(server: &Server, [more, access, extra]: [&str; 3]) -> String {
    let port = server.addr.port();
    let pem = server.ca_pem.replace('\n', "\\n");
    format!(
        "trigger: {{manual: {{}}}}\nvars: {{ca: \"{pem}\"}}\nsteps:\n  - id: tell\n    {more}\n    email:\n      \
         server: {{host: localhost, port: {port}, {access}}}\n      \
         from: Signalbox <box@example.com>\n      subject: \"Alarm ${{{{ event.message }}}}\"\n      {extra}"
    )
}

const LOGIN: &str = "username: me, password: s3cret, caCertificate: '${{ vars.ca }}'";
const TRUSTED: &str = "caCertificate: '${{ vars.ca }}'";
const TEXT: &str = "to: [ops@example.com]\n      text: hello";

#[tokio::test(flavor = "multi_thread")]
async fn a_message_goes_encrypted_to_all_it_is_for() {
    for (manner, access) in [
        (Manner::default(), LOGIN.to_owned()),
        (
            Manner {
                implicit: true,
                ..Manner::default()
            },
            format!("tls: implicit, {LOGIN}"),
        ),
    ] {
        let server = Server::start(manner).await;
        let mut world = World::start().await;
        let extra = "to: ['Ops <ops@example.com>', \"${{ ['a@example.com', 'b@example.com'] }}\"]\n      \
                     cc: [c@example.com]\n      bcc: [d@example.com]\n      replyTo: [e@example.com]\n      \
                     text: \"first\\n.\\nünd last\"\n      html: <p>hello</p>\n      headers: {X-Priority: '1'}";
        let definition = definition(&server, ["", &access, extra]);
        let execution = world.accept(&definition, "one", "ü").await;
        world.run();
        let facts = world.finished(&execution).await;
        let output = output_of(&facts);
        let everyone = ["ops", "a", "b", "c", "d"].map(|name| format!("{name}@example.com"));
        assert_eq!(output["accepted"], json!(everyone));
        assert_eq!(output["refused"], json!([]));
        assert_eq!(output["reply"], "250 2.0.0 queued as 1");
        let letters = server.letters();
        assert_eq!(letters.len(), 1);
        let letter = &letters[0];
        assert_eq!(
            (letter.from.as_str(), &letter.to[..]),
            ("box@example.com", &everyone[..])
        );
        assert!(letter.encrypted);
        assert_eq!(letter.login.as_deref(), Some("me"));
        let id = output["messageId"].as_str().unwrap();
        assert!(
            id.starts_with('<') && id.ends_with("@example.com>") && id.len() == 46,
            "{id}"
        );
        for line in [
            format!("Message-ID: {id}\r\n").as_str(),
            "From: Signalbox <box@example.com>\r\n",
            "Cc: c@example.com\r\n",
            "Reply-To: e@example.com\r\n",
            "Subject: Alarm =?utf-8?b?w7w=?=\r\n",
            "X-Priority: 1\r\n",
            "multipart/alternative",
            "<p>hello</p>",
        ] {
            assert!(letter.text.contains(line), "{line}: {}", letter.text);
        }
        // The id is random and may end in a "d" itself.
        let elsewhere = letter.text.replace(id, "");
        assert!(!elsewhere.contains("d@example.com"), "{}", letter.text);
        let records = format!("{:?}", world.records(&execution).await);
        assert!(!records.contains("s3cret"), "{records}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn repeats_have_one_message_id() {
    let server = Server::start(Manner {
        breaks_once: true,
        ..Manner::default()
    })
    .await;
    let mut world = World::start().await;
    let retry = "retry: {maxAttempts: 3, initialBackoff: 0.01s}";
    let broken = world
        .accept(&definition(&server, [retry, TRUSTED, TEXT]), "one", "x")
        .await;
    world.run();
    let facts = world.finished(&broken).await;
    assert_eq!(attempts(&facts).len(), 2);
    let id = output_of(&facts)["messageId"].clone();
    let other = world
        .accept(&definition(&server, [retry, TRUSTED, TEXT]), "two", "x")
        .await;
    let facts = world.finished(&other).await;
    assert_ne!(output_of(&facts)["messageId"], id);
    assert_eq!(server.letters().len(), 2);
    assert!(server.letters()[0].text.contains(id.as_str().unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn some_recipients_may_be_refused_and_not_all() {
    let server = Server::start(Manner::default()).await;
    let mut world = World::start().await;
    world.run();
    let to = |list: &str| {
        let extra = format!("to: [{list}]\n      text: hello");
        let retry = "retry: {maxAttempts: 2, initialBackoff: 0.01s}";
        definition(&server, [retry, TRUSTED, &extra])
    };
    let some = to("ops@example.com, gone@example.com, busy@example.com");
    let execution = world.accept(&some, "one", "x").await;
    let output = output_of(&world.finished(&execution).await);
    assert_eq!(output["accepted"], json!(["ops@example.com"]));
    assert_eq!(
        output["refused"],
        json!([
            {"address": "gone@example.com", "code": 550, "message": "5.1.1 no such user"},
            {"address": "busy@example.com", "code": 450, "message": "4.2.1 not now"},
        ])
    );
    assert_eq!(server.letters()[0].to, ["ops@example.com"]);
    for (list, tried, told) in [
        (
            "gone@example.com",
            1,
            "550 5.1.1 no such user (gone@example.com)",
        ),
        ("busy@example.com, gone@example.com", 2, "450 4.2.1 not now"),
    ] {
        let execution = world.accept(&to(list), list, "x").await;
        let facts = world.finished(&execution).await;
        assert_eq!(code_of(&facts), "SMTP_ERROR");
        assert_eq!(attempts(&facts).len(), tried, "{list}");
        let failure = finished(&facts).1.unwrap();
        assert!(failure.message.contains(told), "{failure}");
    }
    assert_eq!(server.letters().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn recipients_are_counted_not_the_texts_that_hold_them() {
    let server = Server::start(Manner::default()).await;
    let mut world = World::start().await;
    world.run();
    let list = |name: &str, count: usize| {
        let all: Vec<_> = (0..count).map(|n| format!("u{n}@example.com")).collect();
        match count {
            0 => String::new(),
            _ => format!("{name}: [\"{}\"]\n      ", all.join(", ")),
        }
    };
    for (to, bcc, reply_to, told) in [
        (100, 0, 100, None),
        (60, 41, 0, Some("more than 100 recipients together")),
        (101, 0, 0, Some("more than 100 recipients together")),
        (1, 0, 101, Some("its replyTo has more than 100 addresses")),
    ] {
        let lists = [("to", to), ("bcc", bcc), ("replyTo", reply_to)];
        let lists: String = lists.map(|(name, count)| list(name, count)).concat();
        let extra = format!("{lists}text: hello");
        let definition = definition(&server, ["", TRUSTED, &extra]);
        let id = format!("{to}-{bcc}-{reply_to}");
        let execution = world.accept(&definition, &id, "x").await;
        let facts = world.finished(&execution).await;
        match told {
            None => assert_eq!(output_of(&facts)["accepted"].as_array().unwrap().len(), to),
            Some(told) => {
                let failure = finished(&facts).1.unwrap();
                assert_eq!(failure.code, "INVALID_REQUEST", "{id}");
                assert!(failure.message.contains(told), "{failure}");
            }
        }
    }
    assert_eq!(server.letters().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_said_to_a_server_that_is_not_the_one() {
    let manner = Manner::default();
    let plain = Manner {
        plain: true,
        ..manner
    };
    let silent = Manner {
        silent: true,
        ..manner
    };
    let by_number = format!("{TRUSTED}, host: 127.0.0.1");
    let wrong_password = LOGIN.replace("s3cret", "wrong");
    let once = "timeout: 1s";
    for (manner, access, code, told) in [
        // A stranger's certificate, one of another name, no encryption at all, a wrong password, no answer.
        (manner, "", "CONNECTION", "UnknownIssuer"),
        (
            manner,
            by_number.as_str(),
            "CONNECTION",
            "not valid for name",
        ),
        (plain, LOGIN, "SMTP_ERROR", "STARTTLS"),
        (manner, &wrong_password, "SMTP_ERROR", "cannot log in: 535"),
        (silent, TRUSTED, "TIMEOUT", "1s"),
    ] {
        let server = Server::start(manner).await;
        let mut world = World::start().await;
        let mut text = definition(&server, [once, access, TEXT]);
        if access.contains("host:") {
            text = text.replace("host: localhost, ", "");
        }
        let execution = world.accept(&text, "one", "x").await;
        world.run();
        let facts = world.finished(&execution).await;
        assert_eq!(finished(&facts).0, ExecutionState::Failed);
        let failure = finished(&facts).1.unwrap();
        assert_eq!(failure.code, code, "{failure}");
        assert!(failure.message.contains(told), "{failure}");
        assert_eq!(server.letters().len(), 0);
        let commands = server.commands();
        assert!(!commands.iter().any(|verb| verb == "MAIL"), "{commands:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_and_the_form_of_addresses_hold() {
    let server = Server::start(Manner::default()).await;
    let mut world = World::start().await;
    world.run();
    let whole = definition(&server, ["", "tls: none", TEXT]);
    let inside = whole.replace("host: localhost", "host: 169.254.169.254");
    let nowhere = whole.replace("host: localhost", "host: nowhere.invalid");
    let from = whole.replace("box@example.com", "${{ event.message }}");
    for (definition, message, code, told) in [
        (&inside, "x", "EGRESS_BLOCKED", "169.254.169.254"),
        (&nowhere, "x", "CONNECTION", "cannot be resolved"),
        (&from, "no address", "INVALID_REQUEST", "is no address"),
        (
            &from,
            "a@b.c>\r\nBcc: <d@e.f",
            "INVALID_REQUEST",
            "control characters",
        ),
    ] {
        let execution = world.accept(definition, message, message).await;
        let facts = world.finished(&execution).await;
        assert_eq!(code_of(&facts), code, "{message}");
        let failure = finished(&facts).1.unwrap();
        assert!(failure.message.contains(told), "{failure}");
    }
    assert_eq!(server.letters().len(), 0);
    // Without encryption, where the definition says so.
    let execution = world.accept(&whole, "fine", "fine").await;
    output_of(&world.finished(&execution).await);
    assert!(!server.letters()[0].encrypted);
}
