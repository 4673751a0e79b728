//! Lines of a control socket, and the descriptor that can come with one.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::{self, MaybeUninit};
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;

use rustix::io::retry_on_intr;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use vfio_user_server::transport::Foreign;

/// Bytes of a line, its end included.
pub const MAX_LINE: usize = 64 << 10;

/// What came with a line beside its bytes.
#[derive(Debug)]
pub enum Handed {
    Nothing,
    One(Foreign),
    /// More descriptors than one, which are closed.
    Many,
    /// None, as this process may have no more.
    Lost,
}

/// What a client says, line by line. Waits for it.
pub struct Lines<'a> {
    stream: &'a UnixStream,
    /// What has come and is not taken.
    bytes: Vec<u8>,
    /// So many of these have no end.
    searched: usize,
    /// Bytes that came before these.
    taken: u64,
    /// By where their lines begin. Two at most: no more is read while there is a line.
    handed: Vec<(u64, Handed)>,
}

impl<'a> Lines<'a> {
    pub fn of(stream: &'a UnixStream) -> Self {
        Self { stream, bytes: Vec::new(), searched: 0, taken: 0, handed: Vec::new() }
    }

    /// The next line, with its end if it has one; `None` when all is said. One that is longer than [`MAX_LINE`] comes in
    /// part.
    pub fn next(&mut self) -> io::Result<Option<(Vec<u8>, Handed)>> {
        loop {
            let mut unsearched = self.bytes.iter().skip(self.searched);
            let end = unsearched.position(|byte| *byte == b'\n').map(|at| self.searched + at + 1);
            if end.is_some() || self.bytes.len() > MAX_LINE {
                return Ok(Some(self.take(end.unwrap_or(usize::MAX).min(MAX_LINE + 1))));
            }
            self.searched = self.bytes.len();
            if self.receive()? == 0 {
                return Ok((!self.bytes.is_empty()).then(|| self.take(self.bytes.len())));
            }
        }
    }

    fn take(&mut self, size: usize) -> (Vec<u8>, Handed) {
        let rest = self.bytes.split_off(size.min(self.bytes.len()));
        let line = mem::replace(&mut self.bytes, rest);
        let start = self.taken;
        self.taken += line.len() as u64;
        self.searched = 0;
        let at = self.handed.iter().position(|(of, _)| *of == start);
        (line, at.map_or(Handed::Nothing, |at| self.handed.swap_remove(at).1))
    }

    /// Takes what has come, and returns how many bytes that is. The kernel ends a read behind what a descriptor came with:
    /// so it is of the line that was begun last.
    fn receive(&mut self) -> io::Result<usize> {
        let mut buffer = [0; 8192];
        // For one: the kernel makes no others.
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = retry_on_intr(|| {
            let mut parts = [IoSliceMut::new(&mut buffer)];
            recvmsg(self.stream, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)
        })?;
        // There may have been room for another one, for alignment's sake.
        let mut fds = Vec::new();
        for part in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = part {
                fds.extend(rights.map(Foreign::from));
            }
        }
        let is_cut = received.flags.contains(ReturnFlags::CTRUNC);
        let new = buffer.get(..received.bytes).unwrap_or_default();
        let handed = match fds.pop() {
            Some(fd) if fds.is_empty() && !is_cut => Handed::One(fd),
            Some(_) => Handed::Many,
            None if is_cut => Handed::Lost,
            None => Handed::Nothing,
        };
        if !matches!(handed, Handed::Nothing) {
            let begun = new.strip_suffix(b"\n").unwrap_or(new);
            let start = match begun.iter().rposition(|byte| *byte == b'\n') {
                Some(at) => self.taken + (self.bytes.len() + at + 1) as u64,
                None => self.taken,
            };
            match self.handed.iter_mut().find(|(of, _)| *of == start) {
                Some((_, before)) => *before = Handed::Many,
                None => self.handed.push((start, handed)),
            }
        }
        self.bytes.extend_from_slice(new);
        Ok(received.bytes)
    }
}

/// Sends whole lines, a descriptor with their first byte.
pub fn send(stream: &UnixStream, lines: &[u8], mut fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mut rest = lines;
    while !rest.is_empty() {
        let fds = fd.take();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if fds.is_some() {
            control.push(SendAncillaryMessage::ScmRights(fds.as_slice()));
        }
        let parts = [IoSlice::new(rest)];
        let sent = retry_on_intr(|| sendmsg(stream, &parts, &mut control, SendFlags::NOSIGNAL))?;
        rest = rest.get(sent..).unwrap_or_default();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::Shutdown;
    use std::os::fd::AsFd;

    use super::*;

    /// What is read of these sends, each with so many descriptors: lines, and a letter for what came with each.
    fn read(sends: &[(&str, usize)]) -> Vec<(String, char)> {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        for (text, count) in sends {
            let fds = vec![theirs.as_fd(); *count];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if *count > 0 {
                control.push(SendAncillaryMessage::ScmRights(&fds));
            }
            let parts = [IoSlice::new(text.as_bytes())];
            assert_eq!(sendmsg(&ours, &parts, &mut control, SendFlags::empty()), Ok(text.len()));
        }
        ours.flush().unwrap();
        ours.shutdown(Shutdown::Write).unwrap();
        let mut lines = Lines::of(&theirs);
        let mut all = Vec::new();
        while let Some((line, handed)) = lines.next().unwrap() {
            let letter = match handed {
                Handed::Nothing => '-',
                Handed::One(_) => '1',
                Handed::Many => 'm',
                Handed::Lost => 'l',
            };
            all.push((String::from_utf8(line).unwrap(), letter));
        }
        assert!(lines.handed.is_empty());
        all
    }

    #[track_caller]
    fn says(sends: &[(&str, usize)], expected: &[(&str, char)]) {
        let expected: Vec<_> =
            expected.iter().map(|(line, it)| ((*line).to_owned(), *it)).collect();
        assert_eq!(read(sends), expected, "{sends:?}");
    }

    #[test]
    fn a_descriptor_is_of_the_line_it_was_sent_with() {
        says(&[("a\n", 0), ("b\n", 1), ("c\n", 0)], &[("a\n", '-'), ("b\n", '1'), ("c\n", '-')]);
        says(&[("a\n", 1), ("b\n", 1)], &[("a\n", '1'), ("b\n", '1')]);
        says(&[("a", 0), ("b\n", 1), ("\n", 1)], &[("ab\n", '1'), ("\n", '1')]);
        says(&[("a", 1), ("b\nc", 1), ("d\n", 0)], &[("ab\n", '1'), ("cd\n", '1')]);
        says(&[("a", 1), ("b", 0), ("c", 0)], &[("abc", '1')]);
    }

    #[test]
    fn of_more_than_one_there_is_none() {
        for count in [2, 3, 253] {
            says(&[("a\n", count), ("b\n", 1)], &[("a\n", 'm'), ("b\n", '1')]);
        }
        says(&[("a", 1), ("b", 1), ("c\n", 0)], &[("abc\n", 'm')]);
    }

    #[test]
    fn a_line_too_long_comes_in_part() {
        let long = "x".repeat(MAX_LINE);
        assert_eq!(read(&[(&long, 1), ("\n", 0)])[0], (format!("{long}\n"), '1'));
        let most = format!("{}\n", "x".repeat(MAX_LINE - 1));
        says(&[(&most, 0), ("b\n", 1)], &[(&most, '-'), ("b\n", '1')]);
    }
}
