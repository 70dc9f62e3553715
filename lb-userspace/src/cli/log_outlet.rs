//! Where lines of the log go. One that would have to wait until somebody reads, or for which there is no room, is left
//! out and counted: who does not read the log does not stop the balancer.

use std::{
    io::{self, ErrorKind, Write},
    os::fd::AsFd,
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

/// A pipe that takes anything takes so much without waiting (pipe(7), `PIPE_BUF`).
const AT_ONCE: usize = 4096;

/// A stream, and what it did not take.
pub(super) struct LogOutlet<S> {
    stream: S,
    left_out: u64,
    /// Of the last line only a part was taken.
    cut: bool,
    /// The line that says how many were left out.
    note: fn(u64) -> String,
}

impl<S: Write + AsFd> LogOutlet<S> {
    pub(super) fn new(stream: S, note: fn(u64) -> String) -> Self {
        Self { stream, left_out: 0, cut: false, note }
    }

    fn put(&mut self, line: &[u8]) -> io::Result<()> {
        if self.cut {
            self.write_now(b"\n")?;
            self.cut = false;
        }
        let mut left = line;
        while !left.is_empty() {
            let taken = self.write_now(left)?;
            left = &left[taken..];
            self.cut = !left.is_empty();
        }
        Ok(())
    }

    /// A stream that would block takes nothing. It is not made one that does not block: others may have it too.
    fn write_now(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut asked = [PollFd::new(self.stream.as_fd(), PollFlags::POLLOUT)];
        // An error is an answer too: the write tells which.
        if !matches!(poll(&mut asked, PollTimeout::ZERO), Ok(1..) | Err(Errno::EINTR)) {
            return Err(ErrorKind::WouldBlock.into());
        }
        match self.stream.write(&bytes[..bytes.len().min(AT_ONCE)])? {
            0 => Err(ErrorKind::WriteZero.into()),
            taken => Ok(taken),
        }
    }
}

impl<S: Write + AsFd> Write for LogOutlet<S> {
    /// Takes whole lines, and never fails.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let note = (self.left_out > 0).then(|| (self.note)(self.left_out));
        if note.is_none_or(|note| self.put(note.as_bytes()).map(|()| self.left_out = 0).is_ok())
            && self.put(line).is_ok()
        {
            return Ok(line.len());
        }
        self.left_out += 1;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        io::{Read as _, pipe},
    };

    use super::*;

    fn note(left_out: u64) -> String {
        format!("{left_out} left out\n")
    }

    #[test]
    fn what_a_full_pipe_has_no_room_for_is_left_out_and_counted() {
        let (mut reader, writer) = pipe().expect("a pipe");
        let mut outlet = LogOutlet::new(writer, note);
        let line = [&[b'x'; 99][..], b"\n"].concat();
        for _ in 0..10_000 {
            outlet.write_all(&line).expect("it never fails");
        }
        let mut read = vec![0; 1 << 20];
        let length = reader.read(&mut read).expect("it can be read");
        assert_eq!(length % line.len(), 0, "whole lines");
        let left_out = 10_000 - length / line.len();
        assert!(left_out > 1_000, "{left_out}");

        outlet.write_all(b"again\n").expect("it never fails");
        let length = reader.read(&mut read).expect("it can be read");
        let text = String::from_utf8_lossy(&read[..length]).into_owned();
        assert_eq!(text, format!("{left_out} left out\nagain\n"));
    }

    #[test]
    fn a_long_line_that_is_cut_ends_before_the_next_one() {
        let (mut reader, writer) = pipe().expect("a pipe");
        let mut outlet = LogOutlet::new(writer, note);
        outlet.write_all(&vec![b'x'; 1 << 20]).expect("it never fails");
        let mut read = vec![0; 1 << 20];
        let length = reader.read(&mut read).expect("it can be read");
        assert!(length < read.len() && read[..length].iter().all(|byte| *byte == b'x'));
        outlet.write_all(b"next\n").expect("it never fails");
        let length = reader.read(&mut read).expect("it can be read");
        assert_eq!(&read[..length], b"\n1 left out\nnext\n");
    }

    #[test]
    fn nobody_who_reads_and_a_full_disk_are_no_failures() {
        let (reader, writer) = pipe().expect("a pipe");
        drop(reader);
        let mut outlet = LogOutlet::new(writer, note);
        outlet.write_all(b"unread\n").expect("it never fails");
        assert_eq!(outlet.left_out, 1);
        let full = File::options().write(true).open("/dev/full").expect("there is one");
        let mut outlet = LogOutlet::new(full, note);
        for _ in 0..2 {
            outlet.write_all(b"no room\n").expect("it never fails");
        }
        assert_eq!(outlet.left_out, 2);
    }
}
