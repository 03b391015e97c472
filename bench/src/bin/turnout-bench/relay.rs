//! `turnout-bench relay`: the limit that proxies are compared with. It moves bytes between a client and a model over one pair of
//! sockets, on one thread, parses nothing and knows nothing. Whoever does more per request has to do it in what is left.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;

use anyhow::{Context, Result};
use clap::Args;
use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

const LISTENER: Token = Token(usize::MAX);
/// One for all sockets, so that it stays in the cache.
const BUFFER_BYTES: usize = 64 << 10;

/// Copies bytes between each client and a connection of its own to a server, and parses nothing.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The address to serve.
    listen: SocketAddr,
    /// The server.
    target: SocketAddr,
}

/// Runs until it is ended from outside.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    let mut poll = Poll::new()?;
    let mut listener =
        TcpListener::bind(arguments.listen).with_context(|| format!("cannot serve {}", arguments.listen))?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut relay = Relay { pairs: Slab::new(), buffer: vec![0; BUFFER_BYTES] };
    let mut events = Events::with_capacity(1024);
    loop {
        poll.poll(&mut events, None).or_else(|error| if is_nothing(&error) { Ok(()) } else { Err(error) })?;
        for event in &events {
            if event.token() == LISTENER {
                relay.accept(&poll, &listener, arguments.target)?;
            } else {
                relay.serve(event);
            }
        }
    }
}

struct Relay {
    pairs: Slab<Pair>,
    buffer: Vec<u8>,
}

/// A client and its server. A token is twice the pair's key, plus the index of the side.
struct Pair {
    sides: [Side; 2],
}

struct Side {
    stream: TcpStream,
    /// What it did not take at once.
    pending: Vec<u8>,
    /// It sends no more.
    is_over: bool,
}

impl Relay {
    fn accept(&mut self, poll: &Poll, listener: &TcpListener, target: SocketAddr) -> Result<()> {
        loop {
            let client = match listener.accept() {
                Ok((client, _)) => client,
                Err(error) if is_nothing(&error) => return Ok(()),
                Err(error) => return Err(error).context("cannot accept"),
            };
            let server = TcpStream::connect(target).with_context(|| format!("cannot connect to {target}"))?;
            let entry = self.pairs.vacant_entry();
            let first = entry.key() * 2;
            let mut pair =
                Pair { sides: [client, server].map(|stream| Side { stream, pending: Vec::new(), is_over: false }) };
            for (index, side) in pair.sides.iter_mut().enumerate() {
                side.stream.set_nodelay(true)?;
                let interest = Interest::READABLE | Interest::WRITABLE;
                poll.registry().register(&mut side.stream, Token(first + index), interest)?;
            }
            entry.insert(pair);
        }
    }

    fn serve(&mut self, event: &Event) {
        let (key, index) = (event.token().0 / 2, event.token().0 % 2);
        let Some(pair) = self.pairs.get_mut(key) else { return };
        let mut moved = Ok(());
        if event.is_writable() && !pair.sides[index].pending.is_empty() {
            moved = pair.copy(1 - index, &mut self.buffer);
        }
        if event.is_readable() {
            moved = moved.and_then(|()| pair.copy(index, &mut self.buffer));
        }
        if moved.is_err() || pair.is_over() {
            self.pairs.remove(key);
        }
    }
}

impl Pair {
    /// Moves what this side has sent to the other one, as far as that takes it.
    fn copy(&mut self, from: usize, buffer: &mut [u8]) -> std::io::Result<()> {
        let [client, server] = &mut self.sides;
        let (from, to) = if from == 0 { (client, server) } else { (server, client) };
        to.flush()?;
        while to.pending.is_empty() && !from.is_over {
            let count = match from.stream.read(buffer) {
                Ok(count) => count,
                // Also a connection to the server that is not open yet.
                Err(error) if is_nothing(&error) || error.kind() == ErrorKind::NotConnected => return Ok(()),
                Err(error) => return Err(error),
            };
            from.is_over = count == 0;
            to.send(&buffer[..count])?;
            // A short read has emptied the socket, and more of it is an event of its own.
            if count < buffer.len() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// One of them sends no more, and the other one has it all.
    fn is_over(&self) -> bool {
        self.sides.iter().any(|side| side.is_over) && self.sides.iter().all(|side| side.pending.is_empty())
    }
}

impl Side {
    fn send(&mut self, mut bytes: &[u8]) -> std::io::Result<()> {
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if is_nothing(&error) || error.kind() == ErrorKind::NotConnected => {
                    self.pending.extend_from_slice(bytes);
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let pending = std::mem::take(&mut self.pending);
        self.send(&pending)
    }
}

fn is_nothing(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
