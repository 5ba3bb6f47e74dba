//! The gateway is killed under load and started again.

use std::{
    fs::OpenOptions,
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::FileExt,
    path::Path,
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};
use tidegate_tests::lab::{
    Gateway, Internet, Netns, Site, Underlay,
    host::plug,
    idle::{self, Idle},
    internet::SERVER,
    probe::iperf3,
    process::Running,
    site::config_with_services,
    wait_for,
};

/// How many connections do nothing meanwhile.
const IDLE: usize = 10_000;

/// A site with services whose ports have the same MACs after a restart, as a NIC has.
pub(crate) fn site(change: impl FnOnce(&mut Value)) -> Option<(Internet, Site)> {
    let site = super::site_with(|config| {
        *config = config_with_services();
        for (at, mac) in ["02:00:00:00:91:00", "02:00:00:00:91:01"].into_iter().enumerate() {
            config["gateway"]["ports"][at]["mac"] = json!(mac);
        }
        config["snats"][0]["ports_per_vm"] = json!(16_384);
        change(config);
    })?;
    Some((Internet::behind(&site).unwrap(), site))
}

/// The files of flow tables that gateways of this process have made and not removed.
pub(crate) fn flow_files() -> Vec<String> {
    let files = std::fs::read_dir("/dev/shm").unwrap().flatten();
    let names = files.map(|entry| entry.file_name().to_string_lossy().into_owned());
    // Named after the control socket, which is in a directory of this process.
    let own = format!("tidegate%2d{}%2d", std::process::id());
    names.filter(|name| name.contains(&own) && name.ends_with(".flows")).collect()
}

/// Plugs the TAPs of a gateway that was started again in where those before were.
pub(crate) fn reconnect(gateway: &Gateway, underlay: &Underlay, upstream: &Netns) -> anyhow::Result<()> {
    underlay.take(gateway.netns(), "tg-underlay")?;
    plug(gateway.netns(), "tg-public", upstream)?;
    upstream.ip("link set tg-public master public")
}

fn unix_s() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

/// Seconds from a moment until `ping -D` saw the first answer after it.
fn first_answer(pings: &Running, after: f64) -> Option<f64> {
    let lines = pings.output_lines();
    let times = lines.iter().filter(|line| line.contains("bytes from"));
    let times = times.filter_map(|line| line.strip_prefix('[')?.split(']').next()?.parse::<f64>().ok());
    times.map(|at| at - after).find(|at| *at > 0.02)
}

/// Where the idle connections lead.
pub(crate) fn remote() -> SocketAddr {
    SocketAddr::from((SERVER.parse::<Ipv4Addr>().unwrap(), 7777))
}

/// How many sessions the gateway has.
fn sessions(gateway: &Gateway) -> usize {
    gateway.json("nat sessions").unwrap().as_array().unwrap().len()
}

/// Not a test of its own: the far end of the idle connections.
#[test]
fn far_end() {
    idle::serve().unwrap();
}

#[test]
fn killed_under_load_every_connection_goes_on() {
    let Some((internet, mut site)) = site(|_| ()) else { return };
    let remote = remote();
    let mut idle = Idle::open(site.web.netns(), &internet.server, remote, IDLE, "crash::far_end").unwrap();
    assert_eq!(idle.alive(), IDLE, "before");
    let mut command = site.db.netns().command("ping");
    command.args(["-D", "-n", "-i", "0.01", SERVER]);
    let pings = Running::start(command).unwrap().until("bytes from").unwrap();

    let Site { gateway, db, underlay, upstream, .. } = &mut site;
    let (tcp, killed) = thread::scope(|scope| {
        let tcp = scope.spawn(|| iperf3(&internet.server, db.netns(), SERVER, "-t 12").unwrap());
        let sent = |gateway: &Gateway| gateway.json("workers").unwrap()[0]["books"]["tx"].as_u64().unwrap();
        let before = sent(gateway);
        wait_for("load", || (sent(gateway) > before + 20_000).then_some(())).unwrap();
        let killed = unix_s();
        gateway.kill().unwrap();
        gateway.start_again(&[]).unwrap();
        reconnect(gateway, underlay, upstream).unwrap();
        (tcp.join().unwrap(), killed)
    });
    let first = wait_for("an answer", || first_answer(&pings, killed)).unwrap();
    let log = site.gateway.process().text();
    let alive = idle.alive();
    eprintln!(
        "{alive} of {IDLE} idle connections go on, iperf3 carried {} MB in {:.0} Mbit/s; first packet {first:.3} s after kill -9",
        tcp.bytes >> 20,
        tcp.bits_per_second / 1e6
    );
    assert!(alive * 1000 >= IDLE * 999, "{alive} of {IDLE} go on:\n{log}");
    assert!(log.contains("connections of the gateway before go on"), "{log}");
    assert!(site.books().unwrap().balance());
    drop(pings);

    // A stop ends them and leaves nothing.
    assert_eq!(flow_files().len(), 1);
    site.gateway.stop().unwrap();
    assert_eq!(flow_files(), Vec::<String>::new());
    assert_eq!(site.gateway.leftovers().unwrap(), Vec::<String>::new());
}

#[test]
fn a_stop_keeps_what_it_is_asked_to_and_what_cannot_be_believed_is_forgotten() {
    const FEW: usize = 50;
    let keep = |config: &mut Value| config["gateway"]["flow_state"] = json!({ "keep_on_stop": true });
    let Some((internet, mut site)) = site(keep) else { return };
    let mut idle = Idle::open(site.web.netns(), &internet.server, remote(), FEW, "crash::far_end").unwrap();
    assert_eq!(idle.alive(), FEW, "before");
    let Site { gateway, underlay, upstream, .. } = &mut site;
    gateway.stop().unwrap();
    let [file] = &flow_files()[..] else { panic!("one file stays") };
    let file = Path::new("/dev/shm").join(file);
    gateway.start_again(&[]).unwrap();
    assert_eq!(sessions(gateway), FEW);
    reconnect(gateway, underlay, upstream).unwrap();
    assert_eq!(idle.alive(), FEW, "after a stop");

    // Each of these begins empty and says so.
    let layout = |file: &Path| {
        OpenOptions::new().write(true).open(file).unwrap().write_all_at(&9u64.to_ne_bytes(), 8).unwrap();
    };
    let torn = |file: &Path| OpenOptions::new().write(true).open(file).unwrap().set_len(8192).unwrap();
    type Change<'a> = &'a dyn Fn(&Path);
    let cases: [(Change<'_>, &[&str], &str); 3] = [
        (&|_| (), &["--fresh"], "the flow table is new"),
        (&layout, &[], "are forgotten: they are of layout 9"),
        (&torn, &[], "are forgotten: the file is damaged"),
    ];
    for (change, options, said) in cases {
        gateway.kill().unwrap();
        change(&file);
        gateway.start_again(options).unwrap();
        assert_eq!(sessions(gateway), 0, "{said}");
        let log = gateway.process().text();
        assert!(log.contains(said), "{said}:\n{log}");
    }
    gateway.stop().unwrap();
    std::fs::remove_file(&file).unwrap();
    assert_eq!(flow_files(), Vec::<String>::new());
}
