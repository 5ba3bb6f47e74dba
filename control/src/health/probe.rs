//! One probe: its socket, made by the thread that is in the namespace, and what the backend says.

use std::{
    io::{self, ErrorKind},
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use http_body_util::Empty;
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    client::conn::http1,
    header::{CONNECTION, HOST, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use nix::{
    errno::Errno,
    sys::socket::{setsockopt, sockopt::Ipv4RecvErr},
};
use tokio::{
    net::{TcpSocket, TcpStream, UdpSocket},
    time::timeout,
};

use super::{Failure, Http, Kind, Method, Outcome, Target, Udp};

/// Largest head of an HTTP answer, in bytes.
const HEAD_MAX: usize = 16 * 1024;
/// Largest datagram that is looked at, in bytes.
const DATAGRAM_MAX: usize = 2 * 1024;

/// A socket in the namespace, bound to the gateway's address.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpSocket),
    Udp(UdpSocket),
}

/// Makes the socket of a probe; the thread must be in the namespace. Never waits.
pub(super) fn open(target: &Target) -> io::Result<Socket> {
    let source = SocketAddrV4::new(target.source, 0);
    match target.check.kind {
        Kind::Tcp | Kind::Http(_) => {
            let socket = TcpSocket::new_v4()?;
            socket.bind(source.into())?;
            // A reset ends the connection: no TIME_WAIT of thousands of probes.
            socket.set_zero_linger()?;
            Ok(Socket::Tcp(socket))
        }
        Kind::Udp(_) => {
            let socket = std::net::UdpSocket::bind(source)?;
            socket.set_nonblocking(true)?;
            // Host and network unreachable are told, too, not only port unreachable.
            setsockopt(&socket, Ipv4RecvErr, &true)?;
            Ok(Socket::Udp(UdpSocket::from_std(socket)?))
        }
    }
}

/// Asks, and waits for the answer; at most as long as the check allows.
pub(super) async fn ask(socket: Socket, target: &Target) -> Outcome {
    let to = SocketAddrV4::new(target.address, target.port);
    let limit = target.check.timeout;
    let late = Outcome::Failed(Failure::Timeout);
    let asked = async {
        match (socket, &target.check.kind) {
            (Socket::Tcp(socket), Kind::Http(http)) => match connect(socket, to).await {
                Ok(stream) => request(stream, http, target).await,
                Err(outcome) => outcome,
            },
            (Socket::Tcp(socket), _) => connect(socket, to).await.err().unwrap_or(Outcome::Passed),
            (Socket::Udp(socket), Kind::Udp(udp)) => datagram(&socket, to, udp, limit).await,
            (Socket::Udp(_), _) => Outcome::NotTried("the socket is of another kind".to_owned()),
        }
    };
    // A datagram that needs no answer judges silence itself, at the same moment.
    timeout(limit + Duration::from_millis(50), asked).await.unwrap_or(late)
}

async fn connect(socket: TcpSocket, to: SocketAddrV4) -> Result<TcpStream, Outcome> {
    socket.connect(to.into()).await.map_err(|error| judge(&error))
}

/// What an error of a socket says about the backend, or about us.
fn judge(error: &io::Error) -> Outcome {
    let failure = match error.kind() {
        ErrorKind::ConnectionRefused => Failure::Refused,
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => Failure::Closed,
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => Failure::Unreachable,
        ErrorKind::TimedOut => Failure::Timeout,
        _ => match error.raw_os_error().map(Errno::from_raw) {
            // What else ICMP says (RFC 1122 section 4.2.3.9, as Linux maps it).
            Some(Errno::EHOSTDOWN | Errno::ENONET | Errno::ENOPROTOOPT | Errno::EPROTO) => {
                Failure::Unreachable
            }
            _ => return Outcome::NotTried(error.to_string()),
        },
    };
    Outcome::Failed(failure)
}

async fn request(stream: TcpStream, http: &Http, target: &Target) -> Outcome {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD_MAX);
    let Ok((mut sender, connection)) = builder.handshake(TokioIo::new(stream)).await else {
        return Outcome::Failed(Failure::Closed);
    };
    let request = match head(http, target.address, target.port) {
        Ok(request) => request,
        Err(error) => return Outcome::NotTried(error.to_string()),
    };
    let answer = async {
        match sender.send_request(request).await {
            Ok(response) => verdict(http, &response),
            Err(error) if error.is_parse() || error.is_parse_too_large() => Outcome::Failed(Failure::Answer),
            Err(_) => Outcome::Failed(Failure::Closed),
        }
    };
    tokio::pin!(answer);
    tokio::select! {
        outcome = &mut answer => outcome,
        // With its end it has handed over what had come.
        _ = connection => answer.await,
    }
}

fn verdict(http: &Http, response: &Response<Incoming>) -> Outcome {
    let code = response.status().as_u16();
    if http.expected.contains(code) { Outcome::Passed } else { Outcome::Failed(Failure::Status(code)) }
}

fn head(http: &Http, address: Ipv4Addr, port: u16) -> Result<Request<Empty<Bytes>>, hyper::http::Error> {
    let method = match http.method {
        Method::Get => hyper::Method::GET,
        Method::Head => hyper::Method::HEAD,
    };
    let host = http.host.clone().unwrap_or_else(|| format!("{address}:{port}"));
    Request::builder()
        .method(method)
        .uri(&http.path)
        .header(HOST, host)
        .header(USER_AGENT, "tidegate-health-check")
        .header(CONNECTION, "close")
        .body(Empty::new())
}

async fn datagram(socket: &UdpSocket, to: SocketAddrV4, udp: &Udp, limit: Duration) -> Outcome {
    let exchange = async {
        socket.connect(to).await?;
        socket.send(&udp.send).await?;
        let mut answer = [0; DATAGRAM_MAX];
        let len = socket.recv(&mut answer).await?;
        io::Result::Ok(answer[..len].to_vec())
    };
    match (timeout(limit, exchange).await, &udp.expect) {
        (Ok(Ok(answer)), Some(expect)) if !answer.starts_with(expect) => Outcome::Failed(Failure::Answer),
        (Ok(Ok(_)), _) => Outcome::Passed,
        (Ok(Err(error)), _) => judge(&error),
        (Err(_), Some(_)) => Outcome::Failed(Failure::Timeout),
        (Err(_), None) => Outcome::Silent,
    }
}

#[cfg(test)]
mod tests {
    use std::{net::SocketAddr, sync::Arc};

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;
    use crate::{
        config::Id,
        health::{Check, Codes},
    };

    const LIMIT: Duration = Duration::from_millis(200);

    fn target(port: u16, kind: Kind) -> Target {
        let check = Check { kind, interval: LIMIT, timeout: LIMIT, healthy: 1, unhealthy: 1 };
        Target {
            vpc: Id::new("vpc-1").unwrap(),
            source: Ipv4Addr::LOCALHOST,
            address: Ipv4Addr::LOCALHOST,
            port,
            check: Arc::new(check),
        }
    }

    async fn outcome(port: u16, kind: Kind) -> Outcome {
        let target = target(port, kind);
        ask(open(&target).unwrap(), &target).await
    }

    fn http(method: Method, host: Option<&str>) -> Kind {
        let (path, host) = ("/health?full=1".to_owned(), host.map(str::to_owned));
        Kind::Http(Http { method, path, host, expected: Codes([(200, 299)].into()) })
    }

    fn udp(expect: Option<&[u8]>) -> Kind {
        Kind::Udp(Udp { send: (*b"ping").into(), expect: expect.map(Into::into) })
    }

    /// A port that answers the first connection so, and what it was asked. `None` never answers.
    async fn server(answer: Option<&'static str>) -> (u16, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = vec![0; 4096];
            let len = stream.read(&mut asked).await.unwrap_or(0);
            match answer {
                Some(answer) => drop(stream.write_all(answer.as_bytes()).await),
                // Until the other side gives up.
                None => drop(stream.read(&mut asked[len..]).await),
            }
            String::from_utf8_lossy(&asked[..len]).into_owned()
        });
        (port, served)
    }

    /// A port on which nobody listens.
    async fn closed() -> u16 {
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap().port()
    }

    #[tokio::test]
    async fn a_tcp_check_wants_a_connection() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(outcome(port, Kind::Tcp).await, Outcome::Passed);
        let (mut accepted, _) = listener.accept().await.unwrap();
        let end = accepted.read(&mut [0]).await.map_err(|error| error.kind());
        assert_eq!(end, Err(ErrorKind::ConnectionReset), "nothing is kept of it");
        assert_eq!(outcome(closed().await, Kind::Tcp).await, Outcome::Failed(Failure::Refused));
    }

    #[tokio::test]
    async fn an_http_check_wants_one_of_its_codes() {
        let cases = [
            (Some("HTTP/1.1 204 No Content\r\n\r\n"), Outcome::Passed),
            (Some("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello"), Outcome::Passed),
            (Some("HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n"), Outcome::Failed(Failure::Status(302))),
            (Some("HTTP/1.1 503 Busy\r\n\r\n"), Outcome::Failed(Failure::Status(503))),
            (Some("SSH-2.0-OpenSSH_9.2\r\n"), Outcome::Failed(Failure::Answer)),
            (Some(""), Outcome::Failed(Failure::Closed)),
            (None, Outcome::Failed(Failure::Timeout)),
        ];
        for (answer, expected) in cases {
            let (port, served) = server(answer).await;
            assert_eq!(outcome(port, http(Method::Get, None)).await, expected, "{answer:?}");
            drop(served.await);
        }
        assert_eq!(outcome(closed().await, http(Method::Get, None)).await, Outcome::Failed(Failure::Refused));
    }

    #[tokio::test]
    async fn an_http_check_asks_as_it_is_told() {
        for (method, host, first) in
            [(Method::Get, None, "GET"), (Method::Head, Some("www.example.com"), "HEAD")]
        {
            let (port, served) = server(Some("HTTP/1.1 200 OK\r\n\r\n")).await;
            assert_eq!(outcome(port, http(method, host)).await, Outcome::Passed);
            let asked = served.await.unwrap().to_ascii_lowercase();
            let host = host.map_or_else(|| format!("127.0.0.1:{port}"), str::to_owned);
            assert!(
                asked.starts_with(&format!("{} /health?full=1 http/1.1\r\n", first.to_ascii_lowercase())),
                "{asked}"
            );
            assert!(
                asked.contains(&format!("host: {host}\r\n")) && asked.contains("connection: close\r\n"),
                "{asked}"
            );
        }
    }

    #[tokio::test]
    async fn a_udp_check_fails_when_it_is_refused_or_answered_wrongly() {
        let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = server.local_addr().unwrap().port();
        assert_eq!(outcome(port, udp(None)).await, Outcome::Silent);
        assert_eq!(outcome(port, udp(Some(b"pong"))).await, Outcome::Failed(Failure::Timeout));
        let answers = tokio::spawn(async move {
            let mut asked = [0; 16];
            loop {
                let (len, from): (usize, SocketAddr) = server.recv_from(&mut asked).await.unwrap();
                // Those of before.
                assert_eq!(asked[..len], *b"ping");
                server.send_to(b"pong!", from).await.unwrap();
            }
        });
        assert_eq!(outcome(port, udp(Some(b"pong"))).await, Outcome::Passed);
        assert_eq!(outcome(port, udp(None)).await, Outcome::Passed);
        assert_eq!(outcome(port, udp(Some(b"pang"))).await, Outcome::Failed(Failure::Answer));
        answers.abort();
        drop(answers.await);
        assert_eq!(outcome(port, udp(None)).await, Outcome::Failed(Failure::Refused));
    }

    #[tokio::test]
    async fn what_we_lack_is_no_failure_of_the_backend() {
        let mut elsewhere = target(80, Kind::Tcp);
        elsewhere.source = Ipv4Addr::new(192, 0, 2, 1);
        assert_eq!(open(&elsewhere).unwrap_err().kind(), ErrorKind::AddrNotAvailable);
        let wrong = Http {
            path: "no slash\r\n".to_owned(),
            ..match http(Method::Get, None) {
                Kind::Http(http) => http,
                _ => unreachable!("made as HTTP"),
            }
        };
        let (port, served) = server(None).await;
        assert!(matches!(outcome(port, Kind::Http(wrong)).await, Outcome::NotTried(_)));
        drop(served.await);
    }
}
