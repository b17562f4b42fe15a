//! Reads answers: status, and a body of known length.

use anyhow::{Context as _, Result, ensure};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Head and body of an answer, at most.
const ANSWER_MAX_BYTES: usize = 64 * 1024;
/// What a Signalbox node says of a message that it has already.
const DUPLICATE: &[u8] = b"\"duplicate\":true";

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) is_duplicate: bool,
    /// All of it, unless it is a plain 200.
    pub(crate) text: String,
}

/// Takes one answer after the other from a connection that sends nothing unasked.
pub(crate) struct Answers {
    buffer: Vec<u8>,
}

impl Default for Answers {
    fn default() -> Self {
        Self {
            buffer: vec![0; 4096],
        }
    }
}

impl Answers {
    /// The next answer.
    pub(crate) async fn next(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> Result<Answer> {
        let mut filled = 0;
        loop {
            ensure!(filled < ANSWER_MAX_BYTES, "an answer is too long");
            if filled == self.buffer.len() {
                self.buffer.resize(filled * 2, 0);
            }
            let more = stream.read(&mut self.buffer[filled..]).await?;
            ensure!(more > 0, "the connection was closed");
            filled += more;
            if let Some(answer) = whole(&self.buffer[..filled])? {
                return Ok(answer);
            }
        }
    }
}

/// The answer in `bytes`; none when more is to come.
fn whole(bytes: &[u8]) -> Result<Option<Answer>> {
    let Some(head) = bytes.windows(4).position(|end| end == b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = std::str::from_utf8(&bytes[..head])?;
    let length: usize = text
        .split("\r\n")
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .context("an answer without a content-length")?
        .1
        .trim()
        .parse()?;
    let body = &bytes[head + 4..];
    if body.len() < length {
        return Ok(None);
    }
    let status = text.get(9..12).context("no status")?.parse()?;
    let is_duplicate = body
        .windows(DUPLICATE.len())
        .any(|window| window == DUPLICATE);
    let plain = status == 200 && !is_duplicate;
    Ok(Some(Answer {
        status,
        is_duplicate,
        text: if plain {
            String::new()
        } else {
            String::from_utf8_lossy(bytes).into_owned()
        },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_in_pieces_is_one_and_the_next_begins_anew() {
        let mut answers = Answers::default();
        let mut pieces = tokio_test_stream(&[
            b"HTTP/1.1 200 OK\r\nContent-Le",
            b"ngth: 4\r\n\r\nab",
            b"cd",
            b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 18\r\n\r\n{\"duplicate\":true}",
        ]);
        let first = answers.next(&mut pieces).await.unwrap();
        assert_eq!((first.status, first.is_duplicate), (200, false));
        let second = answers.next(&mut pieces).await.unwrap();
        assert_eq!(second.status, 503);
        assert!(second.text.contains("Unavailable"));
        let third = answers.next(&mut pieces).await.unwrap();
        assert!(third.is_duplicate);
        assert!(answers.next(&mut pieces).await.is_err());
    }

    #[test]
    fn an_answer_whose_length_is_not_told_is_no_answer() {
        assert!(whole(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
    }

    /// A reader that gives one piece at a time.
    fn tokio_test_stream(pieces: &[&'static [u8]]) -> impl AsyncRead + Unpin {
        struct Pieces(std::collections::VecDeque<&'static [u8]>);
        impl AsyncRead for Pieces {
            fn poll_read(
                mut self: std::pin::Pin<&mut Self>,
                _: &mut std::task::Context<'_>,
                buffer: &mut tokio::io::ReadBuf<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                if let Some(piece) = self.0.pop_front() {
                    buffer.put_slice(piece);
                }
                std::task::Poll::Ready(Ok(()))
            }
        }
        Pieces(pieces.iter().copied().collect())
    }
}
