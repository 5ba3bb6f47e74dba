//! Clients that are slow, large or many: `/ping` is answered, and they are turned away.

use tidegate_tests::zstack::{connect_from, send};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// Reads until the other end closes.
async fn read_all(mut stream: tokio::net::TcpStream) -> String {
    let mut text = Vec::new();
    stream.read_to_end(&mut text).await.ok();
    String::from_utf8_lossy(&text).into_owned()
}

#[tokio::test]
async fn a_client_that_says_its_headers_slowly_is_cut_off() {
    let bench = Bench::start(Limits { request: Duration::from_millis(50), ..limits() }).await;
    let mut slow = connect_from("127.0.0.1", bench.at).await.unwrap();
    slow.write_all(b"POST /echo HTTP/1.1\r\nHost: a\r\n").await.unwrap();
    read_all(slow).await;
}

#[tokio::test]
async fn a_body_that_does_not_come_is_given_up() {
    let bench = Bench::start(Limits { request: Duration::from_millis(50), ..limits() }).await;
    let mut slow = connect_from("127.0.0.1", bench.at).await.unwrap();
    slow.write_all(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{").await.unwrap();
    assert!(read_all(slow).await.starts_with("HTTP/1.1 408 "));
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused_before_it_is_read() {
    let bench = Bench::start(limits()).await;
    for head in ["Content-Length: 104857600", "Transfer-Encoding: chunked"] {
        let mut large = connect_from("127.0.0.1", bench.at).await.unwrap();
        let url = &bench.manager.callback_url;
        let request = format!(
            "POST /createvip HTTP/1.1\r\nHost: a\r\ntaskuuid: t\r\ncallbackurl: {url}\r\n{head}\r\n\r\n"
        );
        large.write_all(request.as_bytes()).await.unwrap();
        if head.starts_with('T') {
            // More than fits; the agent stops reading somewhere.
            let chunk = [b"100000\r\n".as_slice(), &vec![b' '; 1 << 20], b"\r\n"].concat();
            for _ in 0..20 {
                if large.write_all(&chunk).await.is_err() {
                    break;
                }
            }
            continue;
        }
        assert!(read_all(large).await.starts_with("HTTP/1.1 413 "));
    }
    assert_eq!(bench.manager.ping(bench.at, "").await, Ok(true));
    assert_eq!(bench.manager.callbacks(), 1, "that of the ping");
}

#[tokio::test]
async fn connections_from_one_address_leave_room_for_others() {
    let bench = Bench::start(Limits { connections_per_client: 8, connections: 16, ..limits() }).await;
    let mut idle = Vec::new();
    for _ in 0..64 {
        idle.push(connect_from("127.0.0.2", bench.at).await.unwrap());
    }
    // Those that found no place are closed at once.
    let closed = idle.split_off(8);
    for stream in closed {
        assert_eq!(read_all(stream).await, "");
    }
    assert_eq!(bench.manager.ping(bench.at, "").await, Ok(true));
    assert_eq!(bench.count(AgentEvent::ConnectionRefused), 56);
}

#[tokio::test]
async fn commands_that_pile_up_are_refused_and_pings_are_not() {
    let bench = Bench::start(Limits { commands: 4, ..limits() }).await;
    bench.site.gate.forget_permits(usize::MAX);
    let headers = [("taskuuid", "t"), ("callbackurl", bench.manager.callback_url.as_str())];
    let mut statuses = Vec::new();
    for _ in 0..8 {
        statuses.push(send(bench.at, "/configurenic", &headers, &guest_nic().to_string()).await.unwrap().0);
    }
    assert_eq!(statuses, [200, 200, 200, 200, 503, 503, 503, 503]);
    assert_eq!(bench.manager.ping(bench.at, "").await, Ok(true));
    assert_eq!(bench.count(AgentEvent::RequestRefused), 4);
}

#[tokio::test]
async fn a_manager_that_does_not_take_results_holds_up_nobody() {
    let bench =
        Bench::start(Limits { callbacks: 2, callback_timeout: Duration::from_millis(20), ..limits() }).await;
    // Takes connections and says nothing.
    let mute = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", mute.local_addr().unwrap());
    for i in 0..40 {
        let task = i.to_string();
        let headers = [("taskuuid", task.as_str()), ("callbackurl", url.as_str())];
        assert_eq!(send(bench.at, "/configurentp", &headers, "{}").await.unwrap().0, 200);
    }
    bench.ok("/configurenic", guest_nic()).await;
    assert_eq!(bench.manager.ping(bench.at, "").await, Ok(true));
    // Of 40, two are tried again for long; one try of each other comes to nothing.
    while bench.count(AgentEvent::CallbackGivenUp) < 38 {
        tokio::task::yield_now().await;
    }
    assert_eq!(bench.count(AgentEvent::CommandDone), 42, "with the NIC and the ping");
}

#[tokio::test]
async fn commands_that_fail_are_counted() {
    let bench = Bench::start(limits()).await;
    assert!(
        bench.manager.call(bench.at, "/createvip", json!({ "vips": [vip("no address")] })).await.is_err()
    );
    assert_eq!([AgentEvent::CommandFailed, AgentEvent::CommandDone].map(|event| bench.count(event)), [1, 0]);
}
