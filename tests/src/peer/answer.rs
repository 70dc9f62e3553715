//! One question and its answer.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufStream};
use tokio::net::TcpStream;

/// What a node said about itself and the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) node: String,
    /// The client as the node sees it.
    pub(super) client: SocketAddr,
    pub(super) number: u64,
}

impl Answer {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.strip_suffix('\n')?.split(' ');
        let answer = Self {
            node: words.next()?.to_owned(),
            client: words.next()?.parse().ok()?,
            number: words.next()?.parse().ok()?,
        };
        words.next().is_none().then_some(answer)
    }
}

/// Asks question number `number`.
///
/// # Errors
/// `UnexpectedEof` when the peer closes instead, `InvalidData` for an answer that is not one to
/// this question, and what the socket reports.
pub(super) async fn ask(stream: &mut BufStream<TcpStream>, number: u64) -> io::Result<Answer> {
    stream.write_all(format!("ask {number}\n").as_bytes()).await?;
    stream.flush().await?;
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    match Answer::parse(&line) {
        Some(answer) if answer.number == number => Ok(answer),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("asked {number}, the answer was {line:?}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::Answer;

    #[test]
    fn only_a_whole_answer_is_one() {
        let answer = Answer::parse("node1 10.1.0.2:4711 9\n").expect("an answer");
        assert_eq!(
            answer,
            Answer {
                node: "node1".into(),
                client: "10.1.0.2:4711".parse().expect("an address"),
                number: 9
            }
        );
        for line in ["", "\n", "node1 10.1.0.2:4711 9", "node1 10.1.0.2 9\n", "a 1.1.1.1:1 1 1\n"] {
            assert_eq!(Answer::parse(line), None, "{line:?}");
        }
    }
}
