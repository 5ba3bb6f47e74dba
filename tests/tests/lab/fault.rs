//! Faults of the control thread of a running gateway, made from outside: `strace` has a system call of one thread fail, or
//! not come to an end.

use std::fs;

use serde_json::Value;
use tidegate_tests::lab::{Gateway, Netns, probe::ping, process::Running, stream::Datagrams, wait_for};

/// What the control thread waits in.
const WAIT: &str = "?epoll_wait,epoll_pwait";

/// Has one `epoll_wait` of the control thread, the first thread of the process, end or begin so. Until it is dropped.
fn inject(gateway: &mut Gateway, fault: &str) -> Running {
    let pid = gateway.process().id().to_string();
    let mut strace = std::process::Command::new("strace");
    strace.args(["-p", &pid, "-e", &format!("trace={WAIT}"), "-e", &format!("inject={WAIT}:{fault}:when=1")]);
    Running::start(strace).unwrap().until("attached").unwrap()
}

/// Whether a tracer holds the first thread of the process.
fn is_held(gateway: &mut Gateway) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", gateway.process().id())).unwrap();
    stat.rsplit(')').next().unwrap().trim_start().starts_with('t')
}

fn pings(from: &Netns, to: &str) {
    let pings = ping(from, to, "-c 3 -i 0.05").unwrap();
    assert!(pings.all_answered(), "{}", pings.text);
}

#[test]
fn a_control_thread_that_panics_starts_again_and_no_packet_is_lost() {
    let Some(mut site) = super::site() else { return };
    let restarts = |gateway: &Gateway| {
        let status: Value = gateway.json("status").ok()?;
        status.get(0).unwrap_or(&status)["control_restarts"].as_u64()
    };
    pings(site.web.netns(), site.app.address());
    let stream = Datagrams::start(site.web.netns(), site.app.netns(), site.app.address(), 500).unwrap();
    stream.until_received(50).unwrap();
    assert_eq!(restarts(&site.gateway), Some(0));
    let fault = inject(&mut site.gateway, "error=EBADF");
    wait_for("the control thread to start again", || (restarts(&site.gateway) == Some(1)).then_some(()))
        .unwrap();
    drop(fault);
    stream.until_received(50).unwrap();
    let count = stream.stop().unwrap();
    assert_eq!(count.received, count.sent, "{}", site.gateway.process().text());
    // Control learns and asks again: a VM that was never spoken to, and a new configuration.
    pings(site.web.netns(), site.db.address());
    site.gateway.reload(&tidegate_tests::lab::site::config().to_string()).unwrap();
    assert!(site.gateway.process().text().contains("the control thread failed and starts again"));
    site.gateway.stop().unwrap();
    assert_eq!(site.gateway.leftovers().unwrap(), Vec::<String>::new());
}

#[test]
fn a_control_thread_that_stands_still_stops_no_traffic() {
    let Some(mut site) = super::site() else { return };
    pings(site.web.netns(), site.app.address());
    let fault = inject(&mut site.gateway, "delay_enter=600000000");
    wait_for("the control thread to stand still", || is_held(&mut site.gateway).then_some(())).unwrap();
    let stream = Datagrams::start(site.web.netns(), site.app.netns(), site.app.address(), 500).unwrap();
    stream.until_received(500).unwrap();
    let count = stream.stop().unwrap();
    assert_eq!(count.received, count.sent);
    // The gateway itself answers, too: ARP to a VM that forgot it, and ping.
    site.web.netns().ip("neigh flush dev eth0").unwrap();
    pings(site.web.netns(), "192.168.20.1");
    pings(site.web.netns(), site.app.address());
    assert!(is_held(&mut site.gateway), "all of that without control");
    drop(fault);
    assert!(site.gateway.show("status").is_ok());
    pings(site.web.netns(), site.db.address());
}
