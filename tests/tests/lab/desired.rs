//! Desired state over the control socket, while packets run: objects that wait and come back, generations that outlive a crash,
//! rollback, a change that nobody confirms.

use serde_json::{Value, json};
use tidegate_tests::lab::{
    probe::ping,
    site::{self, Site},
    stream::Datagrams,
    wait_for,
};

/// Writes a file into the gateway's folder and runs a command with it.
fn with_file(site: &Site, command: &str, file: &Value) -> anyhow::Result<String> {
    let path = site.gateway.dir().join("objects.json");
    std::fs::write(&path, file.to_string())?;
    site.gateway.tidegate(&format!("{command} -f {}", path.display()))
}

fn blackhole() -> Value {
    json!({ "routes": [{ "id": "extra", "vpc": "vpc-1", "destination": "192.168.98.0/24", "blackhole": true }] })
}

fn has_blackhole(site: &Site) -> bool {
    site.gateway.show("routes vpc-1").unwrap().contains("192.168.98.0/24")
}

fn is_answered(site: &Site) -> bool {
    ping(site.web.netns(), site.app.address(), "-c 1 -W 1").unwrap().all_answered()
}

#[test]
fn a_router_that_goes_and_comes_takes_and_brings_its_networks() {
    let Some(site) = super::site() else { return };
    assert!(ping(site.web.netns(), site.app.address(), "-c 2 -i 0.1").unwrap().all_answered());
    assert!(ping(site.web2.netns(), site.app2.address(), "-c 2 -i 0.1").unwrap().all_answered());
    let other = Datagrams::start(site.web2.netns(), site.app2.netns(), site.app2.address(), 1000).unwrap();
    let said = site.gateway.tidegate("delete vpc_routers vpc-1").unwrap();
    assert!(
        said.contains("- vpc_routers/vpc-1") && said.contains("generation 2 is live on all workers"),
        "{said}"
    );
    assert!(!is_answered(&site));
    let waiting = site.gateway.tidegate("get vpc_networks --state pending").unwrap();
    assert!(waiting.contains("vpc: there is no vpc_routers/vpc-1"), "{waiting}");
    let mut router = json!({ "vpc_routers": site::config()["vpc_routers"] });
    router["vpc_routers"].as_array_mut().unwrap().retain(|router| router["id"] == "vpc-1");
    with_file(&site, "apply --merge --strict", &router).unwrap();
    wait_for("the router's networks", || is_answered(&site).then_some(())).unwrap();
    assert!(!site.gateway.tidegate("get --state pending").unwrap().contains("pending"));
    other.until_received(20).unwrap();
    let count = other.stop().unwrap();
    assert!(count.sent > 50 && count.received == count.sent, "{count:?}");
}

#[test]
fn what_was_acknowledged_outlives_a_crash_until_the_file_changes() {
    let Some(mut site) = super::site() else { return };
    let said = with_file(&site, "diff --merge", &blackhole()).unwrap();
    assert!(said.contains("+ routes/extra") && !has_blackhole(&site), "{said}");
    with_file(&site, "apply --merge", &blackhole()).unwrap();
    assert!(has_blackhole(&site));
    site.gateway.kill().unwrap();
    site.gateway.start_again(&[]).unwrap();
    assert!(has_blackhole(&site), "the file is as it was");
    let history = site.gateway.tidegate("history").unwrap();
    assert!(history.contains("root") && history.contains("+1 ~0 -0"), "{history}");
    // The file's word counts again.
    site.gateway.reload(&site::config().to_string()).unwrap();
    assert!(!has_blackhole(&site));
    site.gateway.tidegate("rollback 2").unwrap();
    assert!(has_blackhole(&site));
    let mut edited = site::config();
    edited["vpc_routers"].as_array_mut().unwrap().push(json!({ "id": "new" }));
    site.gateway.kill().unwrap();
    site.gateway.write_config(&edited.to_string()).unwrap();
    site.gateway.start_again(&[]).unwrap();
    assert!(!has_blackhole(&site) && site.gateway.show("vpcs").unwrap().contains("new"));
}

#[test]
fn a_change_that_nobody_confirms_falls_back() {
    let Some(site) = super::site() else { return };
    with_file(&site, "apply --merge --confirm-within 1s", &blackhole()).unwrap();
    assert!(has_blackhole(&site));
    wait_for("the fall back", || (!has_blackhole(&site)).then_some(())).unwrap();
    with_file(&site, "apply --merge --confirm-within 1h", &blackhole()).unwrap();
    let why = site.gateway.tidegate("delete routes extra").unwrap_err().to_string();
    assert!(why.contains("waits to be confirmed"), "{why}");
    site.gateway.tidegate("confirm").unwrap();
    site.gateway.tidegate("delete routes extra").unwrap();
    assert!(!has_blackhole(&site));
}

#[test]
fn what_cannot_be_right_changes_nothing_and_names_the_field() {
    let Some(site) = super::site() else { return };
    let wrong = json!({ "nics": [
        { "id": "a", "network": "nowhere", "address": "10.0.0.300" },
        { "id": "b", "network": "nowhere", "address_": "10.0.0.3" },
    ] });
    let why = format!("{:#}", with_file(&site, "apply --merge", &wrong).unwrap_err());
    assert!(why.contains("did you mean `address`?"), "{why}");
    assert!(!site.gateway.tidegate("get nics").unwrap().contains("nowhere"));
    // Without `--merge` a file is all there is, but for the host's section.
    let mut objects = site::config();
    objects.as_object_mut().unwrap().remove("routes");
    let said = with_file(&site, "diff", &objects).unwrap();
    assert!(said.contains("- routes/"), "{said}");
}
