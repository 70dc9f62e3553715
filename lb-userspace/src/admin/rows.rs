//! A JSON array in pieces, so that a million rows are never one text.

use hyper::body::Bytes;
use serde::Serialize;

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
                piece.extend_from_slice(if self.at == At::Start { b"[]\n" } else { b"\n]\n" });
                self.at = At::End;
                break;
            };
            piece.extend_from_slice(if self.at == At::Start { b"[\n" } else { b",\n" });
            self.at = At::Within;
            if let Err(error) = serde_json::to_writer(&mut piece, &row) {
                self.at = At::End;
                return Some(Err(error));
            }
        }
        Some(Ok(piece.into()))
    }
}

#[cfg(test)]
mod tests {
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
}
