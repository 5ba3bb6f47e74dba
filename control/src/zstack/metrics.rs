//! `GET /metrics` with the names of the stock agent: all gauges, each declared once. What the gateway has no source for is not there;
//! docs/zstack.md lists it.

use std::collections::{BTreeMap, HashMap};

use super::{body::Listener, router::Pushed};
use crate::{
    metrics::{
        catalog::{Kind, Metric},
        sheet::Sheet,
    },
    show::{BackendRow, HttpRow, ListenerRow, VipRow},
};

macro_rules! gauges {
    ($( $id:ident = $name:literal [$($label:literal),*] $help:literal; )+) => {
        $( static $id: Metric = Metric { name: $name, kind: Kind::Gauge, labels: &[$($label),*], help: $help }; )+
        #[cfg(test)]
        static ALL: &[&Metric] = &[$(&$id,)+];
    };
}

gauges! {
    VIP_IN_BYTES = "zstack_vip_in_bytes" ["VipUUID"] "Bytes (IP total length) to the VIP.";
    VIP_IN_PACKETS = "zstack_vip_in_packages" ["VipUUID"] "Packets to the VIP.";
    VIP_OUT_BYTES = "zstack_vip_out_bytes" ["VipUUID"] "Bytes (IP total length) from the VIP.";
    VIP_OUT_PACKETS = "zstack_vip_out_packages" ["VipUUID"] "Packets from the VIP.";
    LB_STATUS = "zstack_lb_status" ["ListenerUuid", "NicIpAddress", "LbUuid"] "1: the VM is up, 0: anything else.";
    LB_SESSIONS = "zstack_lb_cur_session_num" ["ListenerUuid", "NicIpAddress", "LbUuid"] "Open connections to the VM; of http and https requests under way.";
    LB_SESSIONS_TOTAL = "zstack_lb_total_session_num" ["ListenerUuid", "NicIpAddress", "LbUuid"] "All of them so far.";
    LB_REFUSED = "zstack_lb_refused_session_num" ["ListenerUuid", "NicIpAddress", "LbUuid"] "Connections that the VM refused; of http and https errors of the VM.";
    LB_IN_BYTES = "zstack_lb_in_bytes" ["ListenerUuid", "NicIpAddress", "LbUuid"] "Bytes from clients.";
    LB_OUT_BYTES = "zstack_lb_out_bytes" ["ListenerUuid", "NicIpAddress", "LbUuid"] "Bytes to clients.";
    LB_1XX = "zstack_lb_hrsp1xx" ["ListenerUuid", "NicIpAddress", "LbUuid"] "Answers of the VM with status 100 to 199; of http and https.";
    LB_2XX = "zstack_lb_hrsp2xx" ["ListenerUuid", "NicIpAddress", "LbUuid"] "Answers of the VM with status 200 to 299; of http and https.";
    LB_3XX = "zstack_lb_hrsp3xx" ["ListenerUuid", "NicIpAddress", "LbUuid"] "Answers of the VM with status 300 to 399; of http and https.";
    LB_4XX = "zstack_lb_hrsp4xx" ["ListenerUuid", "NicIpAddress", "LbUuid"] "Answers of the VM with status 400 to 499; of http and https.";
    LB_5XX = "zstack_lb_hrsp5xx" ["ListenerUuid", "NicIpAddress", "LbUuid"] "Answers of the VM with status 500 and above; of http and https.";
    LB_OTHER = "zstack_lb_hrspOther" ["ListenerUuid", "NicIpAddress", "LbUuid"] "Answers of the VM with a status of no known class; of http and https.";
    LB_USAGE = "zstack_lb_cur_session_usage" ["ListenerUuid", "LbUuid"] "Open connections of the listener in percent of its maxConnection.";
    MEMORY = "vpcMemoryUsage" ["memory"] "Memory of the host in bytes.";
}

/// Answers by the class of their status.
static ANSWERS: [(&str, &Metric); 6] = [
    ("1xx", &LB_1XX),
    ("2xx", &LB_2XX),
    ("3xx", &LB_3XX),
    ("4xx", &LB_4XX),
    ("5xx", &LB_5XX),
    ("other", &LB_OTHER),
];

/// What the gateway shows, as far as it is told here.
#[derive(Clone, Debug, Default)]
pub(super) struct Shown {
    pub(super) vips: Vec<VipRow>,
    pub(super) listeners: Vec<ListenerRow>,
    pub(super) backends: Vec<BackendRow>,
    pub(super) http: Vec<HttpRow>,
    /// `/proc/meminfo`.
    pub(super) memory: String,
}

/// The page of a router.
pub(super) fn page(pushed: &Pushed<'_>, shown: &Shown) -> String {
    let mut sheet = Sheet::default();
    vips(&mut sheet, pushed, &shown.vips);
    for listener in &pushed.listeners {
        match listener.mode.as_str() {
            "http" | "https" => http(&mut sheet, listener, shown),
            _ => forwarded(&mut sheet, listener, shown),
        }
    }
    for (kind, bytes) in memory(&shown.memory) {
        sheet.set(&MEMORY, &[kind], bytes);
    }
    sheet.encode()
}

/// Every VIP from when it was pushed on.
fn vips(sheet: &mut Sheet, pushed: &Pushed<'_>, rows: &[VipRow]) {
    // A VIP has a row for each slice, all with the same counters.
    let by_id: HashMap<&str, &VipRow> = rows.iter().map(|row| (row.id.as_str(), row)).collect();
    let named = pushed.vips.iter().filter(|(_, vip)| !vip.vip_uuid.is_empty());
    for (row, vip) in named.filter_map(|(id, vip)| Some((by_id.get(id.as_str())?, vip))) {
        let labels = [vip.vip_uuid.as_str()];
        sheet.set(&VIP_IN_BYTES, &labels, row.bytes_in);
        sheet.set(&VIP_IN_PACKETS, &labels, row.packets_in);
        sheet.set(&VIP_OUT_BYTES, &labels, row.bytes_out);
        sheet.set(&VIP_OUT_PACKETS, &labels, row.packets_out);
    }
}

fn usage(sheet: &mut Sheet, listener: &Listener, row: &ListenerRow, open: u64) {
    let labels = [listener.listener_uuid.as_str(), listener.lb_uuid.as_str()];
    sheet.set(&LB_USAGE, &labels, open.saturating_mul(100) / u64::from(row.max_connections.max(1)));
}

/// A listener whose packets workers forward.
fn forwarded(sheet: &mut Sheet, listener: &Listener, shown: &Shown) {
    let uuid = &listener.listener_uuid;
    if let Some(row) = shown.listeners.iter().find(|row| row.id == *uuid) {
        usage(sheet, listener, row, row.connections.unwrap_or(0).into());
    }
    for row in shown.backends.iter().filter(|row| row.listener == *uuid) {
        let ip = row.address.to_string();
        let labels = [uuid.as_str(), ip.as_str(), listener.lb_uuid.as_str()];
        sheet.set(&LB_STATUS, &labels, u64::from(row.state != "down"));
        sheet.set(&LB_SESSIONS, &labels, row.connections.unwrap_or(0).into());
        sheet.set(&LB_SESSIONS_TOTAL, &labels, row.opened.unwrap_or(0));
        sheet.set(&LB_REFUSED, &labels, row.refused.unwrap_or(0));
        sheet.set(&LB_IN_BYTES, &labels, row.bytes_in.unwrap_or(0));
        sheet.set(&LB_OUT_BYTES, &labels, row.bytes_out.unwrap_or(0));
    }
}

/// A listener of the proxy.
fn http(sheet: &mut Sheet, listener: &Listener, shown: &Shown) {
    let uuid = &listener.listener_uuid;
    let limit = shown.listeners.iter().find(|row| row.id == *uuid);
    // A VM that is in several groups is one here; it is up if it is up in one of them.
    let mut up: BTreeMap<&str, bool> = BTreeMap::new();
    for row in shown.http.iter().filter(|row| row.listener == *uuid) {
        let Some(backend) = &row.backend else {
            limit.into_iter().for_each(|limit| usage(sheet, listener, limit, row.current));
            continue;
        };
        let ip = backend.rsplit_once(':').map_or(backend.as_str(), |(ip, _)| ip);
        *up.entry(ip).or_default() |= ["up", "unchecked", "draining"].contains(&row.state.as_str());
        let labels = [uuid.as_str(), ip, listener.lb_uuid.as_str()];
        sheet.set(&LB_SESSIONS, &labels, row.current);
        sheet.set(&LB_SESSIONS_TOTAL, &labels, row.total);
        sheet.set(&LB_REFUSED, &labels, row.errors);
        sheet.set(&LB_IN_BYTES, &labels, row.bytes_in);
        sheet.set(&LB_OUT_BYTES, &labels, row.bytes_out);
        for (class, metric) in ANSWERS {
            sheet.set(metric, &labels, row.answers.get(class).copied().unwrap_or(0));
        }
    }
    for (ip, up) in up {
        sheet.set(&LB_STATUS, &[uuid, ip, &listener.lb_uuid], up.into());
    }
}

/// Bytes by the stock labels.
fn memory(meminfo: &str) -> Vec<(&'static str, u64)> {
    let lines = meminfo.lines().filter_map(|line| {
        let (key, rest) = line.split_once(':')?;
        let kib: u64 = rest.trim().trim_end_matches(" kB").parse().ok()?;
        Some((key, kib.saturating_mul(1024)))
    });
    let of: HashMap<&str, u64> = lines.collect();
    let known = [
        ("total", "MemTotal"),
        ("free", "MemFree"),
        ("available", "MemAvailable"),
        ("buffered", "Buffers"),
        ("cached", "Cached"),
    ];
    let mut all: Vec<_> = known.into_iter().filter_map(|(kind, key)| Some((kind, *of.get(key)?))).collect();
    let rest = ["MemFree", "Buffers", "Cached"].map(|key| of.get(key).copied().unwrap_or(0));
    if let Some(total) = of.get("MemTotal") {
        all.push(("used", total.saturating_sub(rest.iter().sum())));
    }
    all
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::zstack::body::Vip;

    fn vip_row(id: &str) -> VipRow {
        VipRow {
            id: id.into(),
            address: [203, 0, 113, 30].into(),
            network: "internet".into(),
            state: "up".into(),
            packets_in: 3,
            bytes_in: 300,
            packets_out: 4,
            bytes_out: 400,
            vpc: None,
            slice: None,
            service: None,
            owner: None,
            to: None,
            allowed: None,
        }
    }

    fn listener_row(id: &str, connections: Option<u32>) -> ListenerRow {
        ListenerRow {
            id: id.into(),
            balancer: "r1.lb".into(),
            vpc: "red".into(),
            vip: "r1.vip-203.0.113.30".into(),
            protocol: "tcp".into(),
            ports: "80".into(),
            algorithm: "roundrobin".into(),
            backends: 2,
            backends_taking: Some(2),
            connections,
            max_connections: 50,
            opened: None,
            denied: None,
            full: None,
            no_backend: None,
            bytes_in: None,
            bytes_out: None,
        }
    }

    fn backend_row(listener: &str, last: u8, state: &str) -> BackendRow {
        BackendRow {
            listener: listener.into(),
            vpc: "red".into(),
            address: [192, 0, 2, last].into(),
            port: 8080,
            group: None,
            state: state.into(),
            reason: None,
            for_s: None,
            weight: 100,
            drain_left_s: None,
            taking: None,
            connections: Some(5),
            max_connections: None,
            opened: Some(9),
            refused: Some(1),
            bytes_in: Some(1000),
            bytes_out: Some(2000),
        }
    }

    #[test]
    fn names_are_those_of_the_stock_agent_and_no_other() {
        let names: HashSet<_> = ALL.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), ALL.len());
        assert!(names.contains("zstack_vip_in_packages"), "packages, not packets");
        assert!(names.iter().all(|name| name.starts_with("zstack_") || name.starts_with("vpc")));
        // The manual says of each that it is served.
        let manual = include_str!("../../../docs/zstack.md");
        assert!(names.iter().all(|name| manual.contains(&format!("`{name}`"))), "docs/zstack.md lacks one");
    }

    #[test]
    fn a_page_has_vips_listeners_and_memory() {
        let vip = Vip { ip: "203.0.113.30".into(), vip_uuid: "33".into(), ..Vip::default() };
        let unnamed = Vip { vip_uuid: String::new(), ..vip.clone() };
        let listener = |uuid: &str, mode: &str| Listener {
            lb_uuid: "55".into(),
            listener_uuid: uuid.into(),
            mode: mode.into(),
            ..Listener::default()
        };
        let (tcp, http) = (listener("tcp-1", "tcp"), listener("web-1", "http"));
        let pushed = Pushed {
            vips: vec![("r1.vip-203.0.113.30".into(), &vip), ("r1.vip-203.0.113.10".into(), &unnamed)],
            listeners: vec![&tcp, &http],
            distributed_routing: false,
        };
        let of_http = |backend: Option<&str>, state: &str| HttpRow {
            listener: "web-1".into(),
            backend: backend.map(str::to_owned),
            state: state.into(),
            current: 2,
            total: 7,
            bytes_in: 10,
            bytes_out: 20,
            answers: [("2xx".into(), 5), ("5xx".into(), 3)].into(),
            errors: 4,
            ..HttpRow::default()
        };
        let shown = Shown {
            vips: vec![
                vip_row("r1.vip-203.0.113.30"),
                vip_row("r1.vip-203.0.113.30"),
                vip_row("r2.vip-203.0.113.30"),
            ],
            listeners: vec![listener_row("tcp-1", Some(10)), listener_row("web-1", None)],
            backends: vec![
                backend_row("tcp-1", 150, "up"),
                backend_row("tcp-1", 151, "down"),
                backend_row("other", 1, "up"),
            ],
            http: vec![
                of_http(None, "up"),
                of_http(Some("192.0.2.150:80"), "down"),
                of_http(Some("192.0.2.150:81"), "up"),
            ],
            memory:
                "MemTotal:  100 kB\nMemFree:   40 kB\nMemAvailable: 70 kB\nBuffers: 5 kB\nCached: 25 kB\n"
                    .into(),
        };
        let page = page(&pushed, &shown);
        for line in [
            "# TYPE zstack_vip_in_bytes gauge",
            r#"zstack_vip_in_bytes{VipUUID="33"} 300"#,
            r#"zstack_vip_out_packages{VipUUID="33"} 4"#,
            r#"zstack_lb_status{LbUuid="55",ListenerUuid="tcp-1",NicIpAddress="192.0.2.150"} 1"#,
            r#"zstack_lb_status{LbUuid="55",ListenerUuid="tcp-1",NicIpAddress="192.0.2.151"} 0"#,
            r#"zstack_lb_total_session_num{LbUuid="55",ListenerUuid="tcp-1",NicIpAddress="192.0.2.151"} 9"#,
            r#"zstack_lb_out_bytes{LbUuid="55",ListenerUuid="tcp-1",NicIpAddress="192.0.2.150"} 2000"#,
            r#"zstack_lb_cur_session_usage{LbUuid="55",ListenerUuid="tcp-1"} 20"#,
            r#"zstack_lb_cur_session_usage{LbUuid="55",ListenerUuid="web-1"} 4"#,
            // One VM in two groups.
            r#"zstack_lb_status{LbUuid="55",ListenerUuid="web-1",NicIpAddress="192.0.2.150"} 1"#,
            r#"zstack_lb_hrsp5xx{LbUuid="55",ListenerUuid="web-1",NicIpAddress="192.0.2.150"} 6"#,
            r#"zstack_lb_hrsp2xx{LbUuid="55",ListenerUuid="web-1",NicIpAddress="192.0.2.150"} 10"#,
            r#"zstack_lb_hrspOther{LbUuid="55",ListenerUuid="web-1",NicIpAddress="192.0.2.150"} 0"#,
            r#"vpcMemoryUsage{memory="used"} 30720"#,
            r#"vpcMemoryUsage{memory="available"} 71680"#,
        ] {
            assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
        }
        assert!(!page.contains("other") && !page.contains(r#"VipUUID="""#), "{page}");
    }
}
