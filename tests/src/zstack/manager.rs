//! The management node, as far as a router agent can tell: it calls, waits for callbacks, pings, and connects in the documented order.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::oneshot,
    time::timeout,
};

/// How long a manager waits for a callback; the real one waits 300 s.
const PATIENCE: Duration = Duration::from_secs(20);

/// A command that did not succeed: what the operator reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed(pub String);

/// A callback that came.
#[derive(Clone, Debug)]
pub struct Result {
    /// Its body.
    pub body: Value,
    /// Its header `TriggerURL`.
    pub trigger: String,
}

/// What waits for callbacks, and how they are answered.
#[derive(Debug, Default)]
struct Desk {
    waiting: Mutex<HashMap<String, oneshot::Sender<Result>>>,
    /// Callbacks that came, delivered or not.
    came: AtomicU64,
    /// Status of the next callbacks, so many of them.
    refuse: AtomicU16,
    refusals: AtomicU64,
}

/// A management node.
#[derive(Debug)]
pub struct Manager {
    desk: Arc<Desk>,
    /// Of callbacks.
    pub callback_url: String,
    tasks: AtomicU64,
}

/// What a manager has configured for one router.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// The router.
    pub uuid: String,
    /// `snats[]`.
    pub snats: Vec<Value>,
    /// `vips[]`.
    pub vips: Vec<Value>,
    /// `rules[]`.
    pub port_forwards: Vec<Value>,
    /// `eips[]`.
    pub eips: Vec<Value>,
    /// Certificates, each `{uuid, certificate}`.
    pub certificates: Vec<Value>,
    /// `lbs[]`.
    pub listeners: Vec<Value>,
    /// `routes[]`.
    pub routes: Vec<Value>,
}

impl Manager {
    /// A manager that takes callbacks.
    ///
    /// # Panics
    /// Where it finds no port.
    pub async fn start() -> Manager {
        let desk = Arc::<Desk>::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let app =
            Router::new().route("/zstack/asyncrest/callback", post(callback)).with_state(Arc::clone(&desk));
        tokio::spawn(async move { axum::serve(listener, app).await });
        let callback_url = format!("http://{address}/zstack/asyncrest/callback");
        Manager { desk, callback_url, tasks: AtomicU64::new(1) }
    }

    /// Answers the next `count` callbacks with `status`.
    pub fn refuse(&self, status: u16, count: u64) {
        self.desk.refuse.store(status, Relaxed);
        self.desk.refusals.store(count, Relaxed);
    }

    /// How many callbacks came, delivered or not.
    pub fn callbacks(&self) -> u64 {
        self.desk.came.load(Relaxed)
    }

    /// An asynchronous command: posts it, checks the empty answer, waits for the callback.
    ///
    /// # Panics
    /// When the transport is not as documented.
    pub async fn result(&self, agent: SocketAddr, path: &str, body: &str) -> Result {
        let task = format!("{:032x}", self.tasks.fetch_add(1, Relaxed));
        let (sender, receiver) = oneshot::channel();
        self.desk.waiting.lock().expect("no panic").insert(task.clone(), sender);
        let headers = [("taskuuid", task.as_str()), ("callbackurl", &self.callback_url)];
        let (status, text) = send(agent, path, &headers, body).await.expect("an agent that answers");
        assert_eq!(
            (status, text.as_str()),
            (200, "\"\""),
            "{path} is answered at once with the empty string"
        );
        timeout(PATIENCE, receiver).await.expect("a callback in time").expect("one callback")
    }

    /// The same, with what the manager makes of the result: `success` that is absent is true.
    ///
    /// # Errors
    /// [`Failed`] with the text of the failure envelope.
    pub async fn call(
        &self,
        agent: SocketAddr,
        path: &str,
        body: Value,
    ) -> std::result::Result<Value, Failed> {
        let Result { body, trigger } = self.result(agent, path, &body.to_string()).await;
        assert_eq!(trigger, path);
        match body["success"] == false {
            true => Err(Failed(body["error"].as_str().unwrap_or_default().to_owned())),
            false => Ok(body),
        }
    }

    /// Whether the router still is the one that the manager knows.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn ping(&self, agent: SocketAddr, uuid: &str) -> std::result::Result<bool, Failed> {
        let reply = self.call(agent, "/ping", json!({ "uuid": uuid })).await?;
        Ok(reply["uuid"] == uuid)
    }

    /// The reconnect flow, in the documented order; lists that are empty are skipped, except that of the default action.
    ///
    /// # Errors
    /// [`Failed`] at the first step that fails.
    pub async fn reconnect(&self, agent: SocketAddr, of: &Environment) -> std::result::Result<(), Failed> {
        let failed = |error: String| Failed(error);
        let (_, kind) =
            send(agent, "/type", &[], &json!({ "uuid": of.uuid }).to_string()).await.map_err(failed)?;
        assert!(kind.contains("\"isVyos\":"), "{kind}");
        let (status, _) = send(agent, "/echo", &[], "\"\"").await.map_err(failed)?;
        assert_eq!(status, 200);
        let init = json!({ "uuid": of.uuid, "restartDnsmasqAfterNumberOfSIGUSER1": 0, "logLevel": "info",
                           "timeServers": [], "parms": {} });
        let reply = self.call(agent, "/init", init).await?;
        let version = reply["zvrVersion"].as_str().unwrap_or_default().split('.').count();
        assert_eq!((&reply["uuid"], version), (&json!(of.uuid), 4));
        // Failure of this one is ignored.
        self.call(agent, "/configurenicdefaultaction", json!({ "nics": [] })).await.ok();
        let lists = [
            ("/syncsnat", json!({ "snats": of.snats, "enable": true }), of.snats.is_empty()),
            ("/createvip", json!({ "syncVip": true, "vips": of.vips, "nicIps": [] }), of.vips.is_empty()),
            ("/syncportforwarding", json!({ "rules": of.port_forwards }), of.port_forwards.is_empty()),
            ("/synceip", json!({ "eips": of.eips }), of.eips.is_empty()),
        ];
        for (path, body, empty) in lists {
            if !empty {
                self.call(agent, path, body).await?;
            }
        }
        for certificate in &of.certificates {
            self.call(agent, "/certificate/create", certificate.clone()).await?;
        }
        if !of.listeners.is_empty() {
            self.call(agent, "/lb/refresh", json!({ "lbs": of.listeners, "enableHaproxyLog": false }))
                .await?;
        }
        self.call(agent, "/syncroutes", json!({ "routes": of.routes })).await?;
        self.call(agent, "/vyos/syncipsecconnection", json!({ "infos": [], "autoRestartVpn": false }))
            .await?;
        Ok(())
    }
}

async fn callback(State(desk): State<Arc<Desk>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    desk.came.fetch_add(1, Relaxed);
    if desk.refusals.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok() {
        return StatusCode::from_u16(desk.refuse.load(Relaxed)).expect("a status");
    }
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let Some(task) = text("taskuuid") else { return StatusCode::BAD_REQUEST };
    let Some(waiter) = desk.waiting.lock().expect("no panic").remove(&task) else {
        return StatusCode::NOT_FOUND;
    };
    let body = serde_json::from_slice(&body).expect("results are JSON");
    waiter.send(Result { body, trigger: text("triggerurl").unwrap_or_default() }).ok();
    StatusCode::OK
}

/// One request over a connection of its own: status and text of the answer.
///
/// # Errors
/// What is wrong with the connection.
pub async fn send(
    to: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> std::result::Result<(u16, String), String> {
    let said = |error: &dyn std::error::Error| error.to_string();
    let stream = TcpStream::connect(to).await.map_err(|error| said(&error))?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| said(&error))?;
    tokio::spawn(connection);
    let mut request = Request::post(path)
        .header("host", to.to_string())
        .header("content-type", "application/json; charset=utf-8");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::from(body.to_owned()))).map_err(|error| said(&error))?;
    let answer: Response<_> = sender.send_request(request).await.map_err(|error| said(&error))?;
    let status = answer.status().as_u16();
    let bytes = answer.into_body().collect().await.map_err(|error| said(&error))?.to_bytes();
    Ok((status, String::from_utf8_lossy(&bytes).into_owned()))
}

/// A connection from another address of this host, for clients that mean no good.
///
/// # Errors
/// What the kernel says.
pub async fn connect_from(from: &str, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(from.parse().map_err(std::io::Error::other)?, 0))?;
    socket.connect(to).await
}
