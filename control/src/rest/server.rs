//! Connections. The API has a thread of its own with a runtime of its own: handshakes, large bodies and long lists cost its time and not
//! that of the control thread, which meanwhile answers ping's neighbours and workers; what a client can hold up is bounded here.

use std::{
    io,
    net::IpAddr,
    path::Path,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use axum::{Router, body::Body, extract::Request};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener},
    runtime,
    sync::oneshot,
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;
use tracing::{error, warn};

use super::{
    Access, Api, ApiCounts, Backend, Limit, Peer,
    audit::Audit,
    guard::{self, Guard},
    tls,
};
use crate::{
    clients::{Clients, Full, Place},
    config::ApiLimits,
};

/// Most bytes of the head of a request.
const HEAD_MAX: usize = 32 * 1024;
/// Most headers.
const HEADERS_MAX: usize = 64;
/// After an accept that failed, for want of descriptors as a rule.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Between two looks whether files of tokens and certificates have changed.
const REFRESH: Duration = Duration::from_secs(2);
/// Threads for what takes long: planning, long lists, large bodies.
const HELPERS: usize = 4;
/// How long the end waits for what is under way.
const FINISH: Duration = Duration::from_secs(1);

/// Where the API is served.
#[derive(Debug, Default)]
pub struct Doors {
    /// The control socket.
    pub socket: Option<std::os::unix::net::UnixListener>,
    /// Addresses of `gateway.api`, and who is let in there.
    pub tcp: Option<(Vec<std::net::TcpListener>, Arc<Access>)>,
}

/// The thread. It ends when this is dropped.
#[derive(Debug)]
pub struct Server {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts the thread. Listeners must not block. The audit log is in the directory `state`.
    ///
    /// # Errors
    /// When there is no thread, no runtime, or a listener does not work.
    pub fn start(
        doors: Doors,
        backend: Arc<dyn Backend>,
        counts: Arc<ApiCounts>,
        state: &Path,
    ) -> io::Result<Server> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(HELPERS)
            .thread_name("rest-helper")
            .build()?;
        let serve = {
            let _inside = runtime.enter();
            Serve::new(doors, backend, counts, Audit::new(state))?
        };
        let (stop, stopped) = oneshot::channel();
        let work = move || {
            runtime.block_on(async {
                tokio::select! {
                    () = serve.run() => error!("the API ended"),
                    _ = stopped => {}
                }
            });
            runtime.shutdown_timeout(FINISH);
        };
        let thread = thread::Builder::new().name("rest".to_owned()).spawn(work)?;
        Ok(Server { stop: Some(stop), thread: Some(thread) })
    }

    /// Whether the thread is there.
    pub fn is_alive(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It waits for FINISH at most.
            let _ = thread.join();
        }
    }
}

/// What is served, and where.
struct Serve {
    socket: Option<UnixListener>,
    tcp: Vec<TcpListener>,
    access: Option<Arc<Access>>,
    desk: Desk,
}

/// What connections share.
#[derive(Clone)]
struct Desk {
    router: Router,
    guard: Arc<Guard>,
    limits: ApiLimits,
    /// Who is connected over TCP, and over the control socket.
    clients: Clients,
    users: Clients,
    counts: Arc<ApiCounts>,
}

impl Serve {
    fn new(
        doors: Doors,
        backend: Arc<dyn Backend>,
        counts: Arc<ApiCounts>,
        audit: Audit,
    ) -> io::Result<Serve> {
        let (tcp, access) = doors.tcp.unzip();
        let limits = access.as_ref().map_or_else(ApiLimits::default, |access| access.api().limits);
        let guard = Arc::new(Guard::new(access.clone(), &limits, Arc::clone(&counts), audit));
        let api = Api::new(backend, limits, Arc::clone(&counts));
        let router = super::router(api, &guard);
        let clients = Clients::new(limits.connections, limits.connections_per_client);
        let users = Clients::new(limits.connections, limits.connections);
        let tcp = tcp.into_iter().flatten().map(TcpListener::from_std).collect::<io::Result<_>>()?;
        let socket = doors.socket.map(UnixListener::from_std).transpose()?;
        Ok(Serve { socket, tcp, access, desk: Desk { router, guard, limits, clients, users, counts } })
    }

    /// Never ends by itself: a connection that fails is the client's concern.
    async fn run(self) {
        let Serve { socket, tcp, access, desk } = self;
        let mut doors = JoinSet::new();
        if let Some(socket) = socket {
            doors.spawn(users(desk.clone(), socket));
        }
        for listener in tcp {
            if let Some(access) = &access {
                doors.spawn(remotes(desk.clone(), listener, Arc::clone(access)));
            }
        }
        let mut ticks = interval(REFRESH);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(ended) = doors.join_next() => {
                    error!("a listener of the API ended: {ended:?}");
                    return;
                }
                _ = ticks.tick() => access.iter().for_each(|access| access.refresh()),
            }
        }
    }
}

/// Everybody who comes by the control socket.
async fn users(desk: Desk, listener: UnixListener) {
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let peer = Peer::User(stream.peer_cred().ok().map(|peer| peer.uid()));
                    // All of them are one client.
                    if let Some(place) = desk.place(&desk.users, IpAddr::from([127, 0, 0, 1])) {
                        let desk = desk.clone();
                        tasks.spawn(async move { desk.serve(stream, peer, place).await });
                    }
                }
                Err(error) => failed("the control socket", &error).await,
            },
            Some(_) = tasks.join_next() => {}
        }
    }
}

/// Everybody who comes to one address.
async fn remotes(desk: Desk, listener: TcpListener, access: Arc<Access>) {
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, address)) => {
                    let address = guard::client(address.ip());
                    if !desk.guard.has_time_for(address) {
                        desk.counts.limit(Limit::Rate);
                    } else if let Some(place) = desk.place(&desk.clients, address) {
                        let (desk, tls) = (desk.clone(), access.tls());
                        tasks.spawn(async move { desk.remote(stream, tls.map(TlsAcceptor::from), address, place).await });
                    }
                }
                Err(error) => failed("an address of gateway.api", &error).await,
            },
            Some(_) = tasks.join_next() => {}
        }
    }
}

async fn failed(door: &str, error: &io::Error) {
    warn!("a connection to {door} failed: {error}");
    sleep(ACCEPT_PAUSE).await;
}

impl Desk {
    fn place(&self, clients: &Clients, address: IpAddr) -> Option<Place> {
        clients
            .take(address)
            .inspect_err(|full| {
                self.counts.limit(match full {
                    Full::All => Limit::Connections,
                    Full::OfOne => Limit::ConnectionsPerClient,
                })
            })
            .ok()
    }

    /// A connection over TCP: the handshake, then requests.
    async fn remote(&self, stream: TcpStream, tls: Option<TlsAcceptor>, address: IpAddr, place: Place) {
        // Answers are written at once.
        let _ = stream.set_nodelay(true);
        let Some(tls) = tls else {
            return self.serve(stream, Peer::Remote { address, certificate: None }, place).await;
        };
        match timeout(self.limits.timeout, tls.accept(stream)).await {
            Ok(Ok(stream)) => {
                let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
                // A certificate without a name is still one: nobody's.
                let certificate = shown.map(|shown| tls::common_name(shown).unwrap_or_default());
                self.serve(stream, Peer::Remote { address, certificate }, place).await;
            }
            Ok(Err(_)) | Err(_) => self.counts.limit(Limit::Tls),
        }
    }

    /// Requests, one after the other, until the client goes or is too slow.
    async fn serve(&self, stream: impl AsyncRead + AsyncWrite + Send + 'static, peer: Peer, _place: Place) {
        let _held = self.counts.connection();
        let service = service_fn(|mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer.clone());
            self.router.clone().oneshot(request.map(Body::new))
        });
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(self.limits.timeout));
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.timeout)
            .max_buf_size(HEAD_MAX)
            .max_headers(HEADERS_MAX);
        let stream = TokioIo::new(Box::pin(stream));
        if let Err(error) = builder.serve_connection(stream, service).await {
            if error.is_timeout() {
                self.counts.limit(Limit::Idle);
            } else if is_late(&error) {
                self.counts.limit(Limit::Unread);
            }
        }
    }
}

/// Whether a write waited for too long.
fn is_late(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    source.is_some_and(|source| source.kind() == io::ErrorKind::TimedOut)
}
