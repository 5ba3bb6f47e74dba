//! The demo's environment from nothing, by a ZStack manager, by REST and from a file: each way the gateway has the same objects, and each
//! way the demo's checks hold. `tests/src/demo/environment.rs` says what the three have no common word for.

use serde_json::{Value, json};
use tempfile::TempPath;
use tidegate_control::desired::Kind;
use tidegate_tests::{
    demo::{self, Table, environment, pushes},
    lab::{Internet, Keys, Management, Site, agent, gateway},
    rest::Client,
};

/// What the host's operator writes in any case.
const OF_OPERATOR: [Kind; 2] = [Kind::VxlanPool, Kind::PublicNetwork];

/// Keys for distributed routing, and the whole environment.
fn wanted() -> Option<(TempPath, Value)> {
    if let Err(why) = gateway::binary() {
        return super::skip(&why);
    }
    let keys = agent::key_file().unwrap().into_temp_path();
    let whole = environment::environment(&keys);
    Some((keys, whole))
}

/// The gateway has all of it and nothing else, and what the demo tries works.
fn holds(mut site: Site, whole: &Value) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let present = runtime.block_on(environment::present(&Client::of_socket(&site.gateway.socket())));
    let mean = |objects| environment::meaning(&whole["gateway"], objects);
    assert_eq!(mean(&present), mean(&environment::objects(whole)));
    let internet = Internet::behind(&site).unwrap();
    let mut table = Table::default();
    let seen = demo::look(&mut site, &internet, &mut table);
    table.print();
    seen.unwrap();
    assert!(table.held(), "see the table");
    eprintln!("{} objects, {} rows held", present.len(), table.len());
}

#[test]
fn a_zstack_manager_brings_the_demo_up_from_nothing() {
    let Some((_keys, whole)) = wanted() else { return };
    let prepared = [&OF_OPERATOR[..], &[Kind::VpcRouter]].concat();
    let site = super::site_with(|config| {
        *config = environment::without(whole.clone(), |kind| !prepared.contains(&kind));
        pushes::allow(config);
    });
    let Some(site) = site else { return };
    super::zstack::managed(&site, async |manager| pushes::bring_up(&manager).await.unwrap());
    holds(site, &whole);
}

#[test]
fn rest_brings_the_demo_up_from_nothing() {
    let Some((_keys, whole)) = wanted() else { return };
    let keys = Keys::new().unwrap();
    let site = super::site_with(|config| {
        *config = environment::without(whole.clone(), |kind| !OF_OPERATOR.contains(&kind));
        keys.allow(config);
    });
    let Some(site) = site else { return };
    let management = Management::connect(&site, keys).unwrap();
    let talk = management.talk(async |client| {
        // Services before what they stand upon.
        let objects =
            environment::objects(&whole).into_iter().filter(|(kind, _)| !OF_OPERATOR.contains(kind));
        for (kind, mut body) in objects.rev() {
            let id = body["id"].take();
            body.as_object_mut().unwrap().remove("id");
            let path = format!("/v1/{kind}/{}", id.as_str().unwrap());
            let said = client.send("PUT", &path, ("", ""), &body).await;
            assert!(said.status == 201 && said.body["live"] == json!(true), "{path}: {said:?}");
        }
    });
    talk.unwrap();
    // Nothing of the management network counts as left behind by the gateway.
    management.disconnect().unwrap();
    holds(site, &whole);
}

#[test]
fn a_file_brings_the_demo_up() {
    let Some((_keys, whole)) = wanted() else { return };
    let Some(site) = super::site_with(|config| config.clone_from(&whole)) else { return };
    holds(site, &whole);
}
