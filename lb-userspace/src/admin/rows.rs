//! A JSON array in pieces, so that a million rows are never one text.

use std::error::Error;

use futures_util::{Stream, stream};
use hyper::body::Bytes;
use serde::Serialize;
use tokio::sync::mpsc;

/// A piece is handed on when it has this many bytes.
const PIECE: usize = 16 * 1024;

/// The pieces of the JSON array of `rows`, a row a line.
#[derive(Debug)]
pub(super) struct Pieces<I> {
    rows: I,
    at: At,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Start,
    Within,
    End,
}

impl At {
    /// What stands before a row.
    fn before_row(self) -> &'static [u8] {
        if self == Self::Start { b"[\n" } else { b",\n" }
    }

    /// What stands after the last one.
    fn end(self) -> &'static [u8] {
        if self == Self::Start { b"[]\n" } else { b"\n]\n" }
    }
}

impl<I> Pieces<I> {
    pub(super) fn new(rows: I) -> Self {
        Self { rows, at: At::Start }
    }
}

impl<I> Iterator for Pieces<I>
where
    I: Iterator,
    I::Item: Serialize,
{
    type Item = serde_json::Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at == At::End {
            return None;
        }
        let mut piece = Vec::with_capacity(PIECE + 512);
        while piece.len() < PIECE {
            let Some(row) = self.rows.next() else {
                piece.extend_from_slice(self.at.end());
                self.at = At::End;
                break;
            };
            piece.extend_from_slice(self.at.before_row());
            self.at = At::Within;
            if let Err(error) = serde_json::to_writer(&mut piece, &row) {
                self.at = At::End;
                return Some(Err(error));
            }
        }
        Some(Ok(piece.into()))
    }
}

/// The pieces of the JSON array of rows that come in batches: each is a piece. Where they end with an
/// error, so does the array. `held` is dropped with the last one.
pub(super) fn in_batches<T, E>(
    rows: mpsc::Receiver<Result<Vec<T>, E>>,
    held: impl Send + 'static,
) -> impl Stream<Item = Result<Bytes, Box<dyn Error + Send + Sync>>>
where
    T: Serialize + Send + 'static,
    E: Error + Send + Sync + 'static,
{
    stream::unfold((rows, At::Start, held), |(mut rows, at, held)| async move {
        if at == At::End {
            return None;
        }
        let (piece, next) = match rows.recv().await {
            Some(Ok(batch)) => (piece_of(&batch, at).map_err(Into::into), At::Within),
            Some(Err(error)) => (Err(error.into()), At::End),
            None => (Ok(Bytes::from_static(at.end())), At::End),
        };
        let at = match &piece {
            Ok(piece) if piece.is_empty() => at,
            Ok(_) => next,
            Err(_) => At::End,
        };
        Some((piece, (rows, at, held)))
    })
}

fn piece_of<T: Serialize>(rows: &[T], mut at: At) -> serde_json::Result<Bytes> {
    let mut piece = Vec::with_capacity(256 * rows.len());
    for row in rows {
        piece.extend_from_slice(at.before_row());
        serde_json::to_writer(&mut piece, row)?;
        at = At::Within;
    }
    Ok(piece.into())
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;

    use super::*;

    fn text(rows: impl IntoIterator<Item = u64>) -> Vec<String> {
        Pieces::new(rows.into_iter())
            .map(|piece| String::from_utf8(piece.unwrap().to_vec()).unwrap())
            .collect()
    }

    #[test]
    fn few_rows_are_one_piece() {
        assert_eq!(text([]), ["[]\n"]);
        assert_eq!(text([1]), ["[\n1\n]\n"]);
        assert_eq!(text([1, 2]), ["[\n1,\n2\n]\n"]);
    }

    #[test]
    fn many_rows_are_small_pieces_of_one_array() {
        let pieces = text(0..100_000);
        assert!(pieces.len() > 30, "{}", pieces.len());
        assert!(pieces.iter().all(|piece| piece.len() < PIECE + 512));
        let rows: Vec<u64> = serde_json::from_str(&pieces.concat()).unwrap();
        assert!(rows.iter().copied().eq(0..100_000));
    }

    #[test]
    fn a_row_that_is_no_json_ends_the_array() {
        let bad = std::collections::HashMap::from([((1, 2), 3)]);
        let mut pieces = Pieces::new([bad.clone(), bad].into_iter());
        assert!(pieces.next().unwrap().is_err());
        assert!(pieces.next().is_none());
    }

    #[tokio::test]
    async fn batches_are_pieces_of_one_array() {
        let text = |batches: &'static [&'static [u64]], fails: bool| async move {
            let (sender, rows) = mpsc::channel(10);
            for batch in batches {
                sender.try_send(Ok(batch.to_vec())).unwrap();
            }
            if fails {
                sender.try_send(Err(std::fmt::Error)).unwrap();
            }
            drop(sender);
            let pieces: Vec<_> = in_batches(rows, ()).collect().await;
            let text = |piece: Bytes| String::from_utf8(piece.to_vec()).unwrap();
            pieces.into_iter().map(|piece| piece.map_or("broken".to_owned(), text)).collect()
        };
        let joined = |pieces: Vec<String>| pieces.concat();
        assert_eq!(joined(text(&[], false).await), "[]\n");
        assert_eq!(joined(text(&[&[]], false).await), "[]\n");
        assert_eq!(joined(text(&[&[1]], false).await), "[\n1\n]\n");
        assert_eq!(joined(text(&[&[1, 2], &[3], &[]], false).await), "[\n1,\n2,\n3\n]\n");
        assert_eq!(text(&[&[1], &[2]], true).await, ["[\n1", ",\n2", "broken"]);
    }
}
