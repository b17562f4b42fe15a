//! Floods of HTTP/2 frames: each ends its own connection, or is borne, and no other.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::support::{Stage, Wire};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// RFC 9113 §6.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// How many frames a flood has.
const FLOOD: u32 = 50_000;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}

/// A header block by hand (RFC 7541 §6.1, §6.2.2): POST, http, and a path that is nobody's.
fn block() -> Vec<u8> {
    let path = b"/nothing";
    [&[0x83, 0x86, 0x04, 8][..], path, &[0x41, 1, b'h']].concat()
}

fn streams() -> impl Iterator<Item = u32> {
    (1..).step_by(2)
}

/// What each flood repeats.
fn floods() -> Vec<(&'static str, Vec<u8>)> {
    let each = |frames: &dyn Fn(u32) -> Vec<u8>| -> Vec<u8> {
        streams().take(FLOOD as usize).flat_map(frames).collect()
    };
    let open = |stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &block());
    let reset = |stream| frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
    vec![
        // CVE-2023-44487.
        ("rapid reset", each(&|n| [open(n), reset(n)].concat())),
        // CVE-2019-9515, CVE-2019-9512.
        ("settings", each(&|_| frame(SETTINGS, 0, 0, &[]))),
        (
            "settings that change",
            each(&|n| frame(SETTINGS, 0, 0, &[&[0, 4][..], &n.to_be_bytes()].concat())),
        ),
        (
            "pings",
            each(&|n| frame(PING, 0, 0, &u64::from(n).to_be_bytes())),
        ),
        // CVE-2024-24549 and its kin: a header block without end.
        (
            "continuations",
            [
                frame(HEADERS, END_STREAM, 1, &block()),
                each(&|_| frame(CONTINUATION, 0, 1, b"\0\x01x\x01y")),
            ]
            .concat(),
        ),
        (
            "empty continuations",
            [
                frame(HEADERS, END_STREAM, 1, &block()),
                each(&|_| frame(CONTINUATION, 0, 1, &[])),
            ]
            .concat(),
        ),
        // CVE-2019-9518.
        (
            "empty data",
            [
                frame(HEADERS, END_HEADERS, 1, &block()),
                each(&|_| frame(DATA, 0, 1, &[])),
            ]
            .concat(),
        ),
        (
            "priorities",
            each(&|n| frame(PRIORITY, 0, n, &[0, 0, 0, 0, 1])),
        ),
        // "Made you reset", CVE-2025-8671: the server is brought to reset by frames that break the rules of a stream.
        (
            "resets provoked",
            each(&|n| {
                let window = frame(WINDOW_UPDATE, 0, n, &0_u32.to_be_bytes());
                [frame(HEADERS, END_HEADERS, n, &block()), window].concat()
            }),
        ),
        (
            "windows",
            each(&|_| frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes())),
        ),
        (
            "streams without end",
            each(&|n| frame(HEADERS, END_HEADERS, n, &block())),
        ),
        ("frames too large", frame(DATA, 0, 1, &vec![0; 1 << 20])),
        ("garbage", vec![0xff; 1 << 20]),
    ]
}

/// Writes a flood, reading nothing, until it is all taken, the peer ends it, or stops reading.
async fn flood(addr: SocketAddr, frames: &[u8]) {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let hello = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    let _ = stream.write_all(&hello).await;
    let writing = async {
        let _ = stream.write_all(frames).await;
    };
    let _ = tokio::time::timeout(Duration::from_secs(5), writing).await;
    let mut taken = Vec::new();
    let reading = stream.read_to_end(&mut taken);
    let _ = tokio::time::timeout(Duration::from_millis(500), reading).await;
}

/// Resident memory of a process, in KiB.
fn resident_kib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_frames_are_borne() {
    let mut stage = Stage::start().await;
    let process = stage.planes.data.process().id();
    let flow = stage.flow().await;
    let before = resident_kib(process);
    for (name, frames) in floods() {
        let addr = stage.addr();
        let peers = (0..4).map(|_| flood(addr, &frames));
        tokio::join!(futures::future::join_all(peers), flow.goes_on());
        let grown = resident_kib(process).saturating_sub(before);
        assert!(grown < 128 * 1024, "{name}: {grown} KiB more");
    }
    stage.only_ran(flow, std::iter::empty()).await;
    stage.kept_secret(&[]).await;
    assert!(stage.planes.data.process().is_running());
}

/// A rapid reset by a whole client, which sees how it ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_rapid_reset_ends_its_connection_and_a_good_client_has_its_answers() {
    let stage = Stage::start().await;
    let flow = stage.flow().await;
    let stream = TcpStream::connect(stage.addr()).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    let ended = tokio::spawn(connection);
    let request = || {
        http::Request::post(format!("http://webhooks{}", stage.target()))
            .body(())
            .unwrap()
    };
    let mut opened = 0;
    // Bounded by itself, so that a server that bears it all is found out.
    while opened < 100_000 {
        client = match client.ready().await {
            Ok(client) => client,
            Err(_) => break,
        };
        let Ok((_, mut body)) = client.send_request(request(), false) else {
            break;
        };
        body.send_reset(h2::Reason::CANCEL);
        opened += 1;
        tokio::task::yield_now().await;
    }
    assert!(opened < 100_000, "the connection should have been ended");
    // Its last word may be lost where this side still writes.
    let error = ended.await.unwrap().expect_err("the server ends it");
    let calm = h2::Reason::ENHANCE_YOUR_CALM;
    assert_eq!(error.reason().unwrap_or(calm), calm, "{error}");

    let stream = TcpStream::connect(stage.addr()).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    let letter = stage.signing.notification("by-http2");
    let (answer, mut body) = client.send_request(request(), false).unwrap();
    body.send_data(letter.body().into(), true).unwrap();
    assert_eq!(answer.await.unwrap().status(), 200);
    let post = stage.post(&letter);
    let mut wire = Wire::open(stage.addr()).await;
    wire.send(post.bytes()).await;
    let copy = wire.answer().await.unwrap();
    assert!(copy.is_duplicate());
    stage.know(&copy);
    flow.goes_on().await;
    stage.only_ran(flow, std::iter::empty()).await;
}
