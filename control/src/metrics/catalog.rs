//! Every metric, declared once.

/// Counter or gauge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// One metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// With unit, and `_total` for a counter.
    pub name: &'static str,
    /// Counter or gauge.
    pub kind: Kind,
    /// In the order in which values are given.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

macro_rules! catalog {
    ($( $(#[doc = $help:literal])+ $id:ident = $kind:ident $name:literal [$($label:literal),*]; )+) => {
        $( $(#[doc = $help])+ pub static $id: Metric = Metric {
            name: $name,
            kind: Kind::$kind,
            labels: &[$($label),*],
            help: concat!($($help),+).trim_ascii(),
        }; )+

        /// All of them, in the order of the manual.
        pub static ALL: &[&Metric] = &[$( &$id, )+];
    };
}

catalog! {
    /// Always 1; the version is a label.
    BUILD_INFO = Gauge "tidegate_build_info" ["version"];
    /// Configuration generations published since the start.
    GENERATION = Gauge "tidegate_config_generation" [];
    /// Whether every worker uses the present generation (1) or one still uses an older one (0).
    GENERATION_LIVE = Gauge "tidegate_config_generation_live" [];

    /// Objects of desired state by kind and state: active, pending (what they name is not there) or failed (they do not go
    /// together with others).
    OBJECTS = Gauge "tidegate_objects" ["kind", "state"];

    /// What router agents for ZStack managers counted; see the events in `docs/drops.md`.
    ZSTACK_EVENTS = Counter "tidegate_zstack_events_total" ["agent", "event"];

    /// Connections to the REST API, those to the control socket among them.
    API_CONNECTIONS = Gauge "tidegate_api_connections" [];
    /// Of these, clients that watch.
    API_WATCHERS = Gauge "tidegate_api_watchers" [];
    /// Requests to the REST API by class of the answer's status: `2xx`, `4xx` …
    API_REQUESTS = Counter "tidegate_api_requests_total" ["status"];
    /// Clients of the REST API that met a limit or were not let in, by reason.
    API_REFUSED = Counter "tidegate_api_refused_total" ["reason"];
    /// Requests that the audit log lacks, because it could not be written.
    API_AUDIT_LOST = Counter "tidegate_api_audit_lost_total" [];

    /// Seconds since the gateway started.
    UPTIME = Gauge "tidegate_uptime_seconds" [];
    /// How often the control thread was started again after a fault; workers forwarded on.
    CONTROL_RESTARTS = Counter "tidegate_control_restarts_total" [];

    /// Whether the link is up (1) or down (0).
    PORT_UP = Gauge "tidegate_port_up" ["port"];
    /// Frames received by the worker.
    PORT_RX_PACKETS = Counter "tidegate_port_rx_packets_total" ["port", "worker"];
    /// Bytes of these frames, Ethernet header included, without FCS.
    PORT_RX_BYTES = Counter "tidegate_port_rx_bytes_total" ["port", "worker"];
    /// Frames that the driver took for transmission.
    PORT_TX_PACKETS = Counter "tidegate_port_tx_packets_total" ["port", "worker"];
    /// Bytes of these frames.
    PORT_TX_BYTES = Counter "tidegate_port_tx_bytes_total" ["port", "worker"];
    /// Frames that the device lost because no descriptor was free: the workers are too slow.
    PORT_RX_MISSED = Counter "tidegate_port_rx_missed_total" ["port"];
    /// Frames that the device received with errors.
    PORT_RX_ERRORS = Counter "tidegate_port_rx_errors_total" ["port"];
    /// Frames lost because no packet buffer was free.
    PORT_RX_NO_BUFFER = Counter "tidegate_port_rx_no_buffer_total" ["port"];
    /// Frames that the device could not send.
    PORT_TX_ERRORS = Counter "tidegate_port_tx_errors_total" ["port"];
    /// Packet buffers in the pool that are free.
    BUFFERS_FREE = Gauge "tidegate_packet_buffers_free" [];
    /// Packet buffers in all.
    BUFFERS = Gauge "tidegate_packet_buffers" [];

    /// IPv4 packets that came from the network; `vpc` is empty for public networks and ports.
    NET_INGRESS_PACKETS = Counter "tidegate_network_ingress_packets_total" ["vpc", "network", "worker"];
    /// Bytes (IP total length) of these packets.
    NET_INGRESS_BYTES = Counter "tidegate_network_ingress_bytes_total" ["vpc", "network", "worker"];
    /// IPv4 packets that were sent into the network.
    NET_EGRESS_PACKETS = Counter "tidegate_network_egress_packets_total" ["vpc", "network", "worker"];
    /// Bytes (IP total length) of these packets.
    NET_EGRESS_BYTES = Counter "tidegate_network_egress_bytes_total" ["vpc", "network", "worker"];

    /// Packets dropped, by reason and by the network they came from (empty before it is known). Only series above 0.
    DROPS = Counter "tidegate_drops_total" ["vpc", "network", "reason", "worker"];
    /// Packets handed to the control thread.
    PUNTS = Counter "tidegate_punts_total" ["reason", "worker"];
    /// What else happened in the packet path.
    EVENTS = Counter "tidegate_events_total" ["event", "worker"];
    /// Packets that wait for a neighbour, for a move to be followed, or for the first fragment of their datagram.
    HELD = Gauge "tidegate_held_packets" ["worker"];

    /// TSC cycles in rounds that received something (`busy`) or nothing (`idle`).
    CYCLES = Counter "tidegate_worker_cycles_total" ["state", "worker"];
    /// Times a worker slept because nothing came (`gateway.poll: adaptive`).
    SLEEPS = Counter "tidegate_worker_sleeps_total" ["worker"];
    /// Received packets by the way they took: `short`, as common packets of established flows do, or `general`.
    WAYS = Counter "tidegate_worker_packets_total" ["way", "worker"];
    /// Polls of a receive queue, by number of frames received.
    BURSTS = Counter "tidegate_worker_bursts_total" ["frames", "worker"];

    /// Entries that wait in a ring between worker and control.
    RING_FILL = Gauge "tidegate_ring_entries" ["ring", "worker"];
    /// What the control side of the rings counted.
    RING_EVENTS = Counter "tidegate_ring_events_total" ["event"];

    /// Packets to and from the namespaces of local delivery.
    LOCAL_EVENTS = Counter "tidegate_local_events_total" ["event"];
    /// Health checks of backends, and what came of them.
    HEALTH_EVENTS = Counter "tidegate_health_events_total" ["event"];
    /// Backends that are checked, by state. One address, port and kind of check counts once, however many listeners have it.
    HEALTH_BACKENDS = Gauge "tidegate_health_backends" ["state"];

    /// Open connections of a listener of a load balancer.
    LB_CONNECTIONS = Gauge "tidegate_lb_listener_connections" ["vpc", "listener"];
    /// Connections that were opened to it.
    LB_OPENED = Counter "tidegate_lb_listener_connections_total" ["vpc", "listener"];
    /// New connections refused: `denied` by its access list, `full` (it, or each of its backends), `no_backend` that takes any.
    LB_REFUSED = Counter "tidegate_lb_refused_total" ["vpc", "listener", "reason"];
    /// Whether a backend is up (1) or down (0), as its health check says; one that is not checked is up.
    LB_BACKEND_UP = Gauge "tidegate_lb_backend_up" ["vpc", "listener", "backend"];
    /// Whether it gets new connections (1) or not (0): up, with a weight, and not draining.
    LB_BACKEND_TAKING = Gauge "tidegate_lb_backend_taking" ["vpc", "listener", "backend"];
    /// Open connections of a backend.
    LB_BACKEND_CONNECTIONS = Gauge "tidegate_lb_backend_connections" ["vpc", "listener", "backend"];
    /// Connections that were opened to it.
    LB_BACKEND_OPENED = Counter "tidegate_lb_backend_connections_total" ["vpc", "listener", "backend"];
    /// Resets by which it answered a SYN; a client that did not hear it went to another backend.
    LB_BACKEND_REFUSED = Counter "tidegate_lb_backend_refused_total" ["vpc", "listener", "backend"];
    /// Bytes (IP total length) of its connections, open ones included: `in` from clients, `out` to them.
    LB_BACKEND_BYTES = Counter "tidegate_lb_backend_bytes_total" ["vpc", "listener", "backend", "direction"];
    /// Whether the proxy of a VPC router's HTTP listeners runs (1) or not (0).
    HTTP_PROXY_UP = Gauge "tidegate_http_proxy_up" ["vpc"];
    /// How often it died and was started again.
    HTTP_PROXY_DEATHS = Counter "tidegate_http_proxy_deaths_total" ["vpc"];
    /// Whether it does not run as configured (1); `tidegate show lb http` and the log say why.
    HTTP_PROXY_PROBLEM = Gauge "tidegate_http_proxy_problem" ["vpc"];
    /// Connections of clients to an HTTP listener. What a proxy counts begins anew when its configuration changes.
    HTTP_CONNECTIONS = Gauge "tidegate_http_connections" ["listener"];
    /// All of them.
    HTTP_CONNECTIONS_TOTAL = Counter "tidegate_http_connections_total" ["listener"];
    /// Bytes of HTTP from clients (`in`) and to them (`out`).
    HTTP_BYTES = Counter "tidegate_http_bytes_total" ["listener", "direction"];
    /// Connections refused by the access list.
    HTTP_REFUSED = Counter "tidegate_http_refused_total" ["listener"];
    /// Answers by the class of their status: `1xx` to `5xx`, `other`.
    HTTP_ANSWERS = Counter "tidegate_http_answers_total" ["listener", "status"];
    /// Whether a backend of an HTTP listener is up.
    HTTP_BACKEND_UP = Gauge "tidegate_http_backend_up" ["listener", "group", "backend"];
    /// Requests that it works on.
    HTTP_BACKEND_REQUESTS = Gauge "tidegate_http_backend_requests" ["listener", "group", "backend"];
    /// All requests that it got.
    HTTP_BACKEND_REQUESTS_TOTAL = Counter "tidegate_http_backend_requests_total" ["listener", "group", "backend"];
    /// Connections to it that failed, and answers that broke off.
    HTTP_BACKEND_ERRORS = Counter "tidegate_http_backend_errors_total" ["listener", "group", "backend"];

    /// Flow entries in use.
    FLOWS = Gauge "tidegate_flows" [];
    /// Flow entries there may be.
    FLOWS_MAX = Gauge "tidegate_flows_max" [];
    /// Neighbours by phase of the ARP state machine.
    NEIGHBOURS = Gauge "tidegate_neighbours" ["phase"];
    /// Neighbours there may be.
    NEIGHBOURS_MAX = Gauge "tidegate_neighbours_max" [];
    /// What the ARP state machine counted.
    NEIGHBOUR_EVENTS = Counter "tidegate_neighbour_events_total" ["event"];
    /// Translated connections (SNAT, port forwards) of a VPC router with services, half-open ones included.
    NAT_SESSIONS = Gauge "tidegate_nat_sessions" ["vpc"];
    /// Ports of a VIP of SNAT, from 1024 on: `used` by sessions, `leased` (free, in blocks of VMs), `free` for any VM, `held` by other services.
    NAT_PORTS = Gauge "tidegate_nat_ports" ["vpc", "vip", "protocol", "state"];
    /// VMs with translated sessions or ports.
    NAT_VMS = Gauge "tidegate_nat_vms" [];
    /// As many as there may be (`limits.nat_vms`).
    NAT_VMS_MAX = Gauge "tidegate_nat_vms_max" [];
    /// Port blocks that VMs have, of all VIPs.
    NAT_BLOCKS = Gauge "tidegate_nat_blocks" [];
    /// As many as there may be (`limits.nat_blocks`).
    NAT_BLOCKS_MAX = Gauge "tidegate_nat_blocks_max" [];
    /// Packets to (`in`) and from (`out`) a public address, whatever service has it; those that a rate limit then drops among them.
    VIP_PACKETS = Counter "tidegate_vip_packets_total" ["vip", "direction"];
    /// Bytes (IP total length) of these packets.
    VIP_BYTES = Counter "tidegate_vip_bytes_total" ["vip", "direction"];
    /// Records of the session log (`gateway.nat_log`), by what became of them. Those that a worker could not hand over are `tidegate_events_total{event="log_full"}`.
    NAT_LOG_EVENTS = Counter "tidegate_nat_log_events_total" ["event"];
    /// Rate of a token bucket (`qos`) in bit/s; not there where only packets per second are limited.
    QOS_RATE = Gauge "tidegate_qos_rate_bits_per_second" ["qos", "direction"];
    /// Bytes that may pass the bucket now (packets, where only these are limited).
    QOS_LEVEL = Gauge "tidegate_qos_level" ["qos", "direction"];
    /// Packets that passed the bucket, and every other one of theirs.
    QOS_PASSED_PACKETS = Counter "tidegate_qos_passed_packets_total" ["qos", "direction"];
    /// Bytes of these packets, as the bucket counts them (`count`).
    QOS_PASSED_BYTES = Counter "tidegate_qos_passed_bytes_total" ["qos", "direction"];
    /// Packets that the bucket had no credit for, or whose colour it drops; all buckets together are `tidegate_drops_total{reason="policed"}`.
    QOS_DROPPED_PACKETS = Counter "tidegate_qos_dropped_packets_total" ["qos", "direction"];
    /// Bytes of these packets.
    QOS_DROPPED_BYTES = Counter "tidegate_qos_dropped_bytes_total" ["qos", "direction"];
    /// Packets that a limit with colours (`colour`) measured, by colour; what became of them, its actions say.
    QOS_COLOUR_PACKETS = Counter "tidegate_qos_colour_packets_total" ["qos", "direction", "colour"];
    /// Bytes of these packets, as the bucket counts them.
    QOS_COLOUR_BYTES = Counter "tidegate_qos_colour_bytes_total" ["qos", "direction", "colour"];
    /// Whether ZSNP is spoken with the agents of hosts (1), or not: not configured, or without keys (0).
    ZSNP_UP = Gauge "tidegate_zsnp_up" [];
    /// Pairs (host, network, destination) by state; `active` ones go direct.
    ZSNP_PAIRS = Gauge "tidegate_zsnp_pairs" ["state"];
    /// Hosts with an agent that have talked in the last ten minutes.
    ZSNP_HOSTS = Gauge "tidegate_zsnp_hosts" [];
    /// What the gateway's end of ZSNP counted.
    ZSNP_EVENTS = Counter "tidegate_zsnp_events_total" ["event"];
    /// ZSNP messages refused; forged ones of VMs are the drop reason `zsnp_forged`.
    ZSNP_REFUSED = Counter "tidegate_zsnp_refused_total" ["reason"];
    /// Packets between networks of a VPC router that has `distributed_routing`, by the way they took: `direct`, as hosts say, or by the `gateway`, as
    /// flow entries say about once a second (the last second of a flow may be missing).
    ZSNP_PACKETS = Counter "tidegate_zsnp_traffic_packets_total" ["vpc", "way"];
    /// Bytes (IP total length) of these packets.
    ZSNP_BYTES = Counter "tidegate_zsnp_traffic_bytes_total" ["vpc", "way"];
    /// Configured routes of a routing table, in force or not.
    ROUTES = Gauge "tidegate_routes" ["table", "state"];
}

/// `docs/metrics.md`.
pub fn page() -> String {
    let mut page = String::from(
        "# Metrics\n\n\
         <!-- Written by `make docs-update` from control/src/metrics/catalog.rs. -->\n\n\
         Prometheus text at `http://<gateway.metrics.listen>/metrics`. A scrape reads counters and stops no worker. The values of \
         `reason`, `event` and `phase` are explained in [drops.md](drops.md), those of `tidegate_zsnp_refused_total` in [zsnp.md](zsnp.md). Dashboard and alert rules are in \
         [deploy/](../deploy/).\n\n\
         | metric | type | labels | meaning |\n|---|---|---|---|\n",
    );
    for metric in ALL {
        let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let kind = if metric.kind == Kind::Counter { "counter" } else { "gauge" };
        page += &format!("| `{}` | {kind} | {} | {} |\n", metric.name, labels.join(" "), metric.help);
    }
    page
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, fs, path::PathBuf};

    use super::*;
    use crate::{metrics::reasons, neighbour::Phase};

    fn root() -> PathBuf {
        PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
    }

    /// Generated pages; `GOLDEN_UPDATE=1` writes them anew.
    #[test]
    fn the_manual_of_metrics_and_reasons_is_up_to_date() {
        for (name, page) in [("metrics.md", page()), ("drops.md", reasons::page())] {
            let path = root().join("docs").join(name);
            if std::env::var_os("GOLDEN_UPDATE").is_some() {
                fs::write(&path, &page).unwrap();
            }
            let found = fs::read_to_string(&path).unwrap_or_default();
            assert!(found == page, "{name}: run GOLDEN_UPDATE=1 cargo test -p tidegate-control manual");
        }
    }

    #[test]
    fn names_are_unique_and_say_their_unit() {
        let names: HashSet<_> = ALL.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), ALL.len());
        for metric in ALL {
            assert_eq!(metric.kind == Kind::Counter, metric.name.ends_with("_total"), "{}", metric.name);
        }
        assert_eq!(Phase::ALL.len(), 4);
    }

    /// Every metric that a dashboard or an alert rule names is one of ours.
    #[test]
    fn dashboards_and_rules_name_metrics_that_exist() {
        let names: HashSet<_> = ALL.iter().map(|metric| metric.name).collect();
        for file in ["deploy/grafana/tidegate.json", "deploy/prometheus/tidegate.rules.yml"] {
            let text = fs::read_to_string(root().join(file)).unwrap();
            let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let used: Vec<_> = words.filter(|word| word.starts_with("tidegate_")).collect();
            assert!(!used.is_empty(), "{file} names no metric");
            for name in used {
                assert!(names.contains(name), "{file} names {name}, which does not exist");
            }
        }
    }
}
