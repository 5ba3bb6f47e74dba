//! `show lb http`.

use super::{Scope, Source, balance};
use crate::{
    config::Listener,
    haproxy::{
        Seen,
        stats::{Kind, Line},
    },
    show::HttpRow,
};

/// A row for each listener that a proxy serves, each followed by those of its backends.
pub(super) fn http(from: &mut Source<'_>, scope: &Scope, only: Option<&str>) -> Vec<HttpRow> {
    let proxied = balance::wanted(from, scope, only).filter(|listener| listener.protocol.is_proxied());
    let rows = proxied.flat_map(|listener| {
        let seen = from.proxies.iter().find(|seen| seen.vpc == listener.vpc);
        of_listener(listener, seen)
    });
    rows.collect()
}

fn of_listener(listener: &Listener, seen: Option<&Seen>) -> Vec<HttpRow> {
    let lines = || {
        let lines = seen.into_iter().flat_map(|seen| &seen.lines);
        lines.filter(|line| line.listener() == listener.id.as_str())
    };
    let running = seen.is_some_and(|seen| seen.running);
    let front = lines().find(|line| line.kind() == Kind::Listener).cloned().unwrap_or_default();
    let state = if running { "up" } else { "down" }.to_owned();
    let row = HttpRow { state, since_s: None, reason: told(seen), ..row(listener, &front) };
    let servers = lines().filter(|line| line.kind() == Kind::Server).map(|line| HttpRow {
        group: Some(line.group()).filter(|group| !group.is_empty()).map(str::to_owned),
        backend: Some(line.server.clone()),
        ..self::row(listener, line)
    });
    std::iter::once(row).chain(servers).collect()
}

/// How the proxy itself is.
fn told(seen: Option<&Seen>) -> String {
    let Some(seen) = seen else { return "not started yet".to_owned() };
    let deaths = match seen.deaths {
        0 => None,
        1 => Some("1 death".to_owned()),
        more => Some(format!("{more} deaths")),
    };
    let all = [seen.problem.clone(), deaths];
    all.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn row(listener: &Listener, line: &Line) -> HttpRow {
    let value = |value: Option<u64>| value.unwrap_or(0);
    let state = match line.status.as_str() {
        "UP" => "up",
        "DOWN" => "down",
        "no check" => "unchecked",
        "DRAIN" => "draining",
        other => other,
    };
    HttpRow {
        listener: listener.id.to_string(),
        vpc: listener.vpc.to_string(),
        group: None,
        backend: None,
        state: state.to_owned(),
        since_s: line.since_s,
        reason: line.reason(),
        current: value(line.current),
        total: value(line.total),
        bytes_in: value(line.bytes_in),
        bytes_out: value(line.bytes_out),
        answers: line.answers().map(|(class, count)| (class.to_owned(), count)).into(),
        errors: value(line.connect_errors) + value(line.response_errors),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::parse,
        haproxy::stats,
        show::{Table, print},
    };

    #[test]
    fn a_listener_and_its_backends_are_rows() {
        let config = parse(include_str!("../../../../docs/examples/http.yaml")).unwrap();
        let lines = stats::parse(
            "# pxname,svname,scur,stot,bin,bout,econ,eresp,status,lastchg,check_status,check_code,hrsp_5xx,last_chk\n\
             secure,FRONTEND,2,17,1700,4200,,,OPEN,,,,5,\n\
             secure,10.1.1.11:8080,0,9,900,2100,2,1,DOWN,72,L4CON,,3,Connection refused\n\
             secure:api,10.1.1.21:9000,1,8,800,2100,0,0,UP,12,L7OK,200,0,OK\n\
             plain,FRONTEND,0,1,2,3,,,OPEN,,,,0,\n",
        )
        .unwrap();
        let seen = Seen {
            vpc: config.vpcs.iter().next().unwrap().id.clone(),
            running: true,
            deaths: 1,
            problem: None,
            lines,
        };
        let [plain, secure] = &config.load_balancers.iter().next().unwrap().listeners[..] else {
            panic!("two listeners")
        };
        let rows = [of_listener(plain, None), of_listener(secure, Some(&seen))].concat();
        let text = print::table(Table::LbHttp, &serde_json::to_string(&rows).unwrap()).unwrap();
        let lines = text.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        assert_eq!(
            lines.collect::<Vec<_>>(),
            [
                "plain vpc-1 down not started yet 0 0 0 0 0 0",
                "secure vpc-1 up 1 death 2 17 1700 4200 5 0",
                "secure vpc-1 10.1.1.11:8080 down 1m12s L4CON: Connection refused 0 9 900 2100 3 3",
                "secure vpc-1 api 10.1.1.21:9000 up 12s L7OK 200: OK 1 8 800 2100 0 0",
            ]
        );
    }
}
