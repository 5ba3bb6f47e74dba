//! A manager changes one VPC again and again over REST while real traffic of others goes through the gateway: none of it is lost.

use std::time::{Duration, Instant};

use serde_json::json;
use tidegate_tests::{
    churn::Churn,
    lab::{Keys, Management, gateway, internet::SERVER, probe::ping, stream::Datagrams},
    rest::Client,
};

/// At least: it goes on until each stream has had a second's datagrams, however fast changes are.
const CHANGES: usize = 2_000;
/// Changes in one transaction.
const AT_ONCE: usize = 20;
/// Datagrams of a stream per second.
const RATE: u64 = 500;

/// One transaction; how long it took until all workers used it.
async fn change(client: &Client, steps: Vec<tidegate_control::desired::Step>) -> Duration {
    let start = Instant::now();
    let said = client.send("POST", "/v1/transactions", ("", ""), &json!({ "steps": steps })).await;
    assert_eq!((said.status.as_u16(), &said.body["live"]), (200, &json!(true)), "{said:?}");
    start.elapsed()
}

#[test]
fn changes_over_rest_lose_no_packet_of_others() {
    if let Err(why) = gateway::binary() {
        return super::skip(&why).unwrap_or_default();
    }
    let keys = Keys::new().unwrap();
    let Some((internet, site)) = super::crash::site(|config| keys.allow(config)) else { return };
    let management = Management::connect(&site, keys).unwrap();
    // Inside of two VPCs, and out by SNAT.
    let ways = [
        (&site.web, site.app.netns(), site.app.address()),
        (&site.web2, site.app2.netns(), site.app2.address()),
        (&site.db, &internet.server, SERVER),
    ];
    for (from, _, address) in ways {
        assert!(ping(from.netns(), address, "-c 2 -i 0.1").unwrap().all_answered());
    }
    let streams = ways.map(|(from, to, address)| Datagrams::start(from.netns(), to, address, RATE).unwrap());
    let took = management.talk(async |client| {
        change(&client, vec![Churn::router()]).await;
        let (mut churn, mut took) = (Churn::new("vxlan-pool"), Vec::new());
        let second = || streams.iter().all(|stream| stream.received() > RATE);
        while took.len() * AT_ONCE < CHANGES || !second() {
            assert!(took.len() < 10 * CHANGES, "nothing arrives");
            took.push(change(&client, churn.next(AT_ONCE)).await);
        }
        assert_eq!(&Churn::of_gateway(&client).await, churn.objects(), "what was written is there");
        took
    });
    let mut took = took.unwrap();
    let counts = streams.map(|stream| stream.stop().unwrap());
    took.sort_unstable();
    eprintln!(
        "{} changes in {} transactions, median {:.0?}, slowest {:.0?}; datagrams of others: {counts:?}",
        took.len() * AT_ONCE,
        took.len(),
        took[took.len() / 2],
        took[took.len() - 1]
    );
    for count in counts {
        assert!(count.received == count.sent, "{count:?}");
    }
    assert!(site.books().unwrap().balance());
}
