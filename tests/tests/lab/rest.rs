//! The REST API on the management network of a gateway: `curl` with TLS and a token brings networks up from nothing; clients that are slow,
//! large or many disturb neither traffic nor others.

use std::{collections::VecDeque, fs, io::Write as _, net::TcpStream};

use serde_json::{Value, json};
use tidegate_tests::lab::{
    Keys, Management, Site, gateway,
    management::{MANAGER, address},
    probe::ping,
    site,
    stream::Datagrams,
    wait_for,
};

/// Whoever does not say where they come from.
const STRANGER: &str = "192.0.2.3";

/// A gateway that knows its underlay and its upstream and nothing else, with an API.
struct Managed {
    site: Site,
    management: Management,
}

impl Managed {
    fn start() -> Option<Managed> {
        gateway::binary().ok()?;
        let keys = Keys::new().unwrap();
        let site = super::site_with(|config| {
            for section in ["vpc_routers", "vpc_networks", "routes"] {
                config[section] = json!([]);
            }
            keys.allow(config);
            config["gateway"]["api"]["limits"] = json!({ "timeout_s": 2 });
        })?;
        let management = Management::connect(&site, keys).unwrap();
        // The first address is that of whoever names none.
        let addresses = [format!("del {MANAGER}"), format!("add {STRANGER}"), format!("add {MANAGER}")];
        let lines = addresses.map(|change| format!("address {change}/24 dev mgmt\n"));
        management.netns().ip(&lines.concat()).unwrap();
        Some(Managed { site, management })
    }

    /// What `curl` gets: the status and the body; or why it gets nothing.
    fn try_curl(&self, method: &str, path: &str, words: &[&str]) -> Result<(u16, Value), String> {
        let mut curl = self.management.netns().command("curl");
        curl.args(["-sS", "--max-time", "60", "--interface", MANAGER, "-X", method, "-w", "\n%{http_code}"]);
        curl.arg("--cacert").arg(self.management.keys().path("ca.pem"));
        curl.args(["-H", &format!("authorization: Bearer {}", self.management.keys().token())]);
        curl.args(["-H", "content-type: application/json"]);
        curl.args(words).arg(format!("https://{}{path}", address()));
        let said = curl.output().map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        let (body, status) = text.rsplit_once('\n').unwrap_or_default();
        match status.parse() {
            Ok(status) if status > 0 => Ok((status, serde_json::from_str(body).unwrap_or_default())),
            _ => Err(String::from_utf8_lossy(&said.stderr).into_owned()),
        }
    }

    fn curl(&self, method: &str, path: &str, words: &[&str]) -> (u16, Value) {
        self.try_curl(method, path, words).unwrap_or_else(|why| panic!("{method} {path}: {why}"))
    }

    fn put(&self, collection: &str, mut object: Value) {
        let id = object["id"].take().as_str().unwrap_or_default().to_owned();
        object.as_object_mut().unwrap().remove("id");
        let path = format!("/v1/{collection}/{id}");
        let (status, said) = self.curl("PUT", &path, &["-d", &object.to_string()]);
        assert_eq!((status, &said["live"]), (201, &json!(true)), "{path}: {said}");
    }

    /// Everything that the site has, object by object; services before what they stand upon.
    fn bring_up(&self) {
        let config = site::config();
        for section in ["routes", "vpc_networks", "vpc_routers"] {
            for (n, object) in config[section].as_array().unwrap().iter().enumerate() {
                let mut object = object.clone();
                if object["id"].is_null() {
                    object["id"] = json!(format!("r-{n}"));
                }
                self.put(section, object);
            }
        }
    }

    fn answers(&self) -> bool {
        let site = &self.site;
        ping(site.web.netns(), site.app.address(), "-c 1 -W 1").unwrap().all_answered()
            && ping(site.web2.netns(), site.app2.address(), "-c 1 -W 1").unwrap().all_answered()
    }

    /// A command of the tools that goes over the network.
    fn remote(&self, words: &str) -> String {
        let file = |name: &str| self.management.keys().path(name).display().to_string();
        let mut command = self.management.netns().command(&gateway::binary().unwrap().display().to_string());
        command.args(words.split_whitespace()).args(["--server", &format!("https://{}", address())]);
        command.args(["--token-file", &file("token"), "--ca", &file("ca.pem")]);
        let said = command.output().unwrap();
        assert!(said.status.success(), "{words}: {}", String::from_utf8_lossy(&said.stderr));
        String::from_utf8(said.stdout).unwrap()
    }
}

#[test]
fn curl_brings_networks_up_from_nothing_and_takes_them_down() {
    let Some(managed) = Managed::start() else { return };
    assert!(!managed.answers(), "there is nothing yet");
    managed.bring_up();
    wait_for("the networks", || managed.answers().then_some(())).unwrap();
    assert_eq!(managed.curl("GET", "/v1/status?state=pending", &[]).1["items"], json!([]));
    let written = managed.remote("get vpc_networks vpc-1-1");
    assert!(written.contains("192.168.20.0/24") && written.contains("active"), "{written}");
    let history = managed.remote("history");
    assert!(history.contains("token manager") && history.contains(&format!("api {MANAGER}")), "{history}");

    let (_, network) = managed.curl("GET", "/v1/vpc_networks/vpc-1-2", &[]);
    let said = managed.remote("delete vpc_networks vpc-1-2");
    assert!(said.contains("is live on all workers"), "{said}");
    assert!(!managed.answers());
    let file = managed.management.keys().path("back.json");
    fs::write(&file, json!({ "vpc_networks": [network] }).to_string()).unwrap();
    managed.remote(&format!("apply --merge --strict -f {}", file.display()));
    wait_for("the network", || managed.answers().then_some(())).unwrap();
    managed.remote("rollback 1");
    assert!(!managed.answers(), "nothing, as at the start");
    let audit = fs::read_to_string(managed.site.gateway.dir().join("state/audit.jsonl")).unwrap();
    assert!(
        audit.contains(MANAGER)
            && audit.contains("POST")
            && !audit.contains(managed.management.keys().token()),
        "{audit}"
    );
}

#[test]
fn ten_thousand_connections_and_a_hundred_megabytes_disturb_nobody() {
    let Some(managed) = Managed::start() else { return };
    managed.bring_up();
    wait_for("the networks", || managed.answers().then_some(())).unwrap();
    let site = &managed.site;
    let traffic = Datagrams::start(site.web.netns(), site.app.netns(), site.app.address(), 1000).unwrap();
    let large = managed.management.keys().path("large");
    fs::File::create(&large).unwrap().set_len(100 << 20).unwrap();
    let flood = || {
        let mut kept = VecDeque::new();
        for n in 0..10_000 {
            let Ok(mut stream) = TcpStream::connect(address()) else { continue };
            if n % 2 == 0 {
                // The beginning of a handshake.
                let _ = stream.write_all(&[0x16, 3, 1, 0, 200, 1]);
            }
            kept.push_front(stream);
            kept.truncate(500);
        }
        kept
    };
    let _kept = managed.management.netns().enter(flood).unwrap();
    let words = ["-H", "expect: 100-continue", "--data-binary", &format!("@{}", large.display())];
    for _ in 0..3 {
        let (status, said) = managed.curl("POST", "/v1/transactions", &words);
        assert_eq!((status, &said["type"]), (413, &json!("urn:tidegate:problem:too-large")));
    }
    assert_eq!(managed.curl("GET", "/v1/vpc_routers/vpc-1", &[]).0, 200);
    assert!(ping(site.web.netns(), "192.168.20.1", "-c 3 -i 0.1 -W 1").unwrap().all_answered());
    traffic.until_received(1000).unwrap();
    let count = traffic.stop().unwrap();
    assert!(count.received == count.sent, "{count:?}");
    let metrics = site.gateway.netns().run("curl -sS http://127.0.0.1:9472/metrics").unwrap();
    let refused: u64 = metrics
        .lines()
        .filter(|line| line.starts_with("tidegate_api_refused_total"))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum();
    assert!(refused > 9000, "{metrics}");
}
