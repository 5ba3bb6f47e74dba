//! SIGKILL of the gateway while a manager changes its configuration over REST, at a random moment, again and again: what was acknowledged
//! is there, what was not is absent or whole, and connections go on.

use std::{
    env, fs,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
};

use serde_json::json;
use tidegate_tests::{
    churn::Churn,
    lab::{
        Keys, Management, Site, gateway,
        idle::{self, Idle},
        internet::SERVER,
        probe::ping,
        wait_for,
    },
};

use super::crash::{flow_files, reconnect, remote};

/// How often the gateway is killed; `TIDEGATE_KILLS` says another number.
const KILLS: u64 = 20;
/// When so many in a row have ended soon, the next one forgets the connections (docs/restart.md).
const SHORT_LIVES: u64 = 3;
/// Changes in one transaction.
const AT_ONCE: usize = 20;
/// How many connections do nothing meanwhile.
const IDLE: usize = 50;
/// How many bytes the gateway may write from the first answer to its end. A transaction is some 10,000.
const BYTES: u64 = 60_000;

/// Bytes that a process has written so far (proc(5), `wchar`).
fn written(process: u32) -> u64 {
    let io = fs::read_to_string(format!("/proc/{process}/io")).unwrap();
    io.lines().find_map(|line| line.strip_prefix("wchar: ")).unwrap().parse().unwrap()
}

/// Makes changes until nobody answers: what was acknowledged last, and what the change that was under way leads to.
fn change_until_killed(management: &Management, mut churn: Churn, answers: &AtomicU64) -> (Churn, Churn) {
    management
        .talk(async |client| {
            loop {
                let before = churn.clone();
                let transaction = json!({ "steps": churn.next(AT_ONCE) }).to_string();
                let json = ("content-type", "application/json");
                match client.try_ask("POST", "/v1/transactions", &[json], transaction).await {
                    Ok(said) => assert_eq!(said.status, 200, "{said:?}"),
                    Err(_) => return (before, churn),
                }
                answers.fetch_add(1, Relaxed);
            }
        })
        .unwrap()
}

/// Not a test of its own: the far end of the idle connections.
#[test]
fn far_end() {
    idle::serve().unwrap();
}

#[test]
fn killed_under_changes_it_has_what_it_acknowledged_and_connections_go_on() {
    if let Err(why) = gateway::binary() {
        return super::skip(&why).unwrap_or_default();
    }
    let keys = Keys::new().unwrap();
    let Some((internet, mut site)) = super::crash::site(|config| keys.allow(config)) else { return };
    let management = Management::connect(&site, keys).unwrap();
    let open = |site: &Site| {
        Idle::open(site.web.netns(), &internet.server, remote(), IDLE, "kill::far_end").unwrap()
    };
    let made = management.talk(async |client| {
        client.send("POST", "/v1/transactions", ("", ""), &json!({ "steps": [Churn::router()] })).await.status
    });
    assert_eq!(made.unwrap(), 200);
    let mut idle = Some(open(&site));
    let (mut churn, mut draw, mut unsaid, mut all) = (Churn::new("vxlan-pool"), 1_u64, 0, 0);
    let kills = env::var("TIDEGATE_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    for kill in 1..=kills {
        draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let answers = AtomicU64::new(0);
        let (said, unanswered) = thread::scope(|scope| {
            let changing = scope.spawn(|| change_until_killed(&management, churn.clone(), &answers));
            wait_for("a change", || (answers.load(Relaxed) > 0).then_some(())).unwrap();
            let process = site.gateway.process().id();
            let end = written(process) + (draw >> 33) % BYTES;
            while written(process) < end {}
            site.gateway.kill().unwrap();
            changing.join().unwrap()
        });
        all += answers.into_inner();
        let Site { gateway, underlay, upstream, .. } = &mut site;
        gateway.start_again(&[]).unwrap();
        reconnect(gateway, underlay, upstream).unwrap();

        let found = management.talk(async |client| Churn::of_gateway(&client).await).unwrap();
        let is_kept = found != *said.objects();
        churn = if is_kept { unanswered } else { said };
        assert_eq!(
            &found,
            churn.objects(),
            "kill {kill}: neither what was acknowledged nor all of what came then"
        );
        unsaid += u64::from(is_kept);

        let log = site.gateway.process().text();
        if kill % SHORT_LIVES != 0 {
            assert_eq!(idle.as_mut().map(Idle::alive), Some(IDLE), "kill {kill}:\n{log}");
        } else {
            assert!(log.contains("times in a row soon after it had taken them over"), "{log}");
            wait_for("new connections", || {
                ping(site.web.netns(), SERVER, "-c 1").ok()?.all_answered().then_some(())
            })
            .unwrap();
            drop(idle.take());
            idle = Some(open(&site));
        }
    }
    eprintln!(
        "{kills} kills, {all} transactions of {AT_ONCE} changes acknowledged; {unsaid} were kept and not acknowledged; \
         {IDLE} connections went on"
    );
    assert!(site.books().unwrap().balance());
    management.disconnect().unwrap();
    site.gateway.stop().unwrap();
    assert_eq!(site.gateway.leftovers().unwrap(), Vec::<String>::new());
    assert_eq!(flow_files(), Vec::<String>::new());
}
