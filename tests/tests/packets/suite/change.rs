//! A large change while control goes on with what it does.

use std::{sync::Arc, thread};

use tidegate_control::config;

use super::*;

#[test]
fn a_large_configuration_is_prepared_while_control_goes_on() {
    let mut gw = Gateway::start(SITE, crate::WORKERS);
    let a = gw.vm("red-1", "10.1.1.7", HOST1);
    let routes = (0..20_000u32).map(|n| {
        format!("  - {{ vpc: blue, destination: 100.{}.{}.0/24, blackhole: true }}\n", 64 + n / 256, n % 256)
    });
    let text = format!("{SITE}{}", routes.collect::<String>());
    let mut config = config::parse(&text).unwrap_or_else(|problems| panic!("{problems}"));
    config.gateway.workers = (1..).map(config::LcoreId).take(crate::WORKERS).collect();
    let config = Arc::new(config);
    let prepare = |gw: &Gateway| {
        let (moment, config) = (gw.moment(), Arc::clone(&config));
        thread::spawn(move || moment.prepare(config))
    };
    // Control hands packets for our own addresses to programs.
    let taken_up = |gw: &mut Gateway| {
        gw.pass(2).ignore();
        gw.from(&a, "tcp 10.1.1.7:1000 > 10.1.1.1:22 S").nothing();
        gw.delivers("red", "tcp 10.1.1.7:1000 > 10.1.1.1:22 S");
    };
    let preparing = prepare(&gw);
    let mut answered = 0;
    while !preparing.is_finished() || answered == 0 {
        taken_up(&mut gw);
        answered += 1;
    }
    // What happens meanwhile counts: it is prepared again.
    gw.link("wan", false).ignore();
    let prepared = preparing.join().unwrap();
    assert!(gw.install(prepared).is_err());
    let prepared = prepare(&gw).join().unwrap();
    gw.install(prepared).unwrap().ignore();
    taken_up(&mut gw);
}
