//! ZSNP on the underlay: a raw socket of its protocol number, on all addresses of the host.

use std::{io, io::Read, net::Ipv4Addr, os::fd::AsFd};

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tidegate_zsnp::MESSAGE_BYTES_MAX;

use super::{
    frame::{ipv4_header, parse_ipv4},
    ready::Ready,
};

/// A message as it came.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) from: Ipv4Addr,
    pub(super) to: Ipv4Addr,
    pub(super) payload: Vec<u8>,
}

/// The socket.
#[derive(Debug)]
pub(super) struct Raw {
    socket: Socket,
    ready: Ready,
    protocol: u8,
}

/// Bytes of messages that may wait: those of 3,000 RENEWs at once.
const BUFFER_BYTES: usize = 8 << 20;

impl Raw {
    /// Opens it; this is what needs CAP_NET_RAW.
    ///
    /// # Errors
    /// From the kernel.
    pub(super) fn open(protocol: u8) -> Result<Raw> {
        let open = || -> io::Result<Socket> {
            let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(i32::from(protocol))))?;
            // The tunnel end is not always the address that the route would choose.
            socket.set_header_included_v4(true)?;
            socket.set_nonblocking(true)?;
            // Bounded by net.core.rmem_max; less only means that a peer asks again.
            let _ = socket.set_recv_buffer_size(BUFFER_BYTES);
            let _ = socket.set_send_buffer_size(BUFFER_BYTES);
            Ok(socket)
        };
        let socket = open().context("no raw IP socket (it needs CAP_NET_RAW)")?;
        Ok(Raw { ready: Ready::of(socket.as_fd())?, socket, protocol })
    }

    /// Waits until something has come.
    ///
    /// # Errors
    /// From the kernel.
    pub(super) async fn readable(&self) -> io::Result<()> {
        self.ready.wait().await
    }

    /// The next message; `None` when all were read.
    pub(super) fn receive(&self) -> Option<Received> {
        let mut packet = [0; MESSAGE_BYTES_MAX + 64];
        loop {
            let len = match (&self.socket).read(&mut packet) {
                Ok(len) => len,
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => return None,
                // An ICMP error about something sent before.
                Err(_) => continue,
            };
            if let Some((from, to, payload)) = parse_ipv4(&packet[..len]) {
                return Some(Received { from, to, payload: payload.to_vec() });
            }
        }
    }

    /// Sends a message.
    ///
    /// # Errors
    /// From the kernel: no route, a full queue.
    pub(super) fn send(&self, from: Ipv4Addr, to: Ipv4Addr, payload: &[u8]) -> io::Result<()> {
        let Some(header) = ipv4_header(from, to, self.protocol, payload.len()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let packet = [&header[..], payload].concat();
        let to = SockAddr::from(std::net::SocketAddrV4::new(to, 0));
        self.socket.send_to(&packet, &to).map(drop)
    }
}
