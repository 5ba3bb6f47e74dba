//! Proxies of HTTP listeners, and what they count.

use super::{catalog, sheet::Sheet};
use crate::haproxy::{Seen, stats::Kind};

pub(super) fn http(sheet: &mut Sheet, proxies: &[Seen]) {
    for proxy in proxies {
        let vpc = proxy.vpc.as_str();
        sheet.set(&catalog::HTTP_PROXY_UP, &[vpc], u64::from(proxy.running));
        sheet.set(&catalog::HTTP_PROXY_DEATHS, &[vpc], proxy.deaths);
        sheet.set(&catalog::HTTP_PROXY_PROBLEM, &[vpc], u64::from(proxy.problem.is_some()));
        for line in &proxy.lines {
            let (listener, value) = (line.listener(), |value: Option<u64>| value.unwrap_or(0));
            match line.kind() {
                Kind::Listener => {
                    sheet.set(&catalog::HTTP_CONNECTIONS, &[listener], value(line.current));
                    sheet.set(&catalog::HTTP_CONNECTIONS_TOTAL, &[listener], value(line.total));
                    sheet.set(&catalog::HTTP_BYTES, &[listener, "in"], value(line.bytes_in));
                    sheet.set(&catalog::HTTP_BYTES, &[listener, "out"], value(line.bytes_out));
                    sheet.set(&catalog::HTTP_REFUSED, &[listener], value(line.denied_connections));
                    for (class, count) in line.answers() {
                        sheet.set(&catalog::HTTP_ANSWERS, &[listener, class], count);
                    }
                }
                Kind::Server => {
                    let labels = &[listener, line.group(), line.server.as_str()];
                    sheet.set(&catalog::HTTP_BACKEND_UP, labels, u64::from(line.is_up()));
                    sheet.set(&catalog::HTTP_BACKEND_REQUESTS, labels, value(line.current));
                    sheet.set(&catalog::HTTP_BACKEND_REQUESTS_TOTAL, labels, value(line.total));
                    let errors = value(line.connect_errors) + value(line.response_errors);
                    sheet.set(&catalog::HTTP_BACKEND_ERRORS, labels, errors);
                }
                Kind::Pool => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Id, haproxy::stats};

    #[test]
    fn what_a_proxy_counts_has_the_names_of_listener_and_backend() {
        let table = "# pxname,svname,scur,stot,bin,bout,econ,eresp,status,hrsp_5xx,dcon,hrsp_2xx\n\
                     web,FRONTEND,2,17,1700,4200,,,OPEN,5,4,12\n\
                     web:api,10.1.1.11:80,1,9,900,2100,2,1,DOWN,3,,6\n\
                     web:api,BACKEND,1,9,900,2100,2,1,DOWN,3,,6\n";
        let lines = stats::parse(table).unwrap();
        let seen = Seen { vpc: Id::new("red").unwrap(), running: true, deaths: 2, problem: None, lines };
        let mut sheet = Sheet::default();
        http(&mut sheet, &[seen]);
        let text = sheet.encode();
        for line in [
            "tidegate_http_proxy_up{vpc=\"red\"} 1",
            "tidegate_http_proxy_deaths_total{vpc=\"red\"} 2",
            "tidegate_http_proxy_problem{vpc=\"red\"} 0",
            "tidegate_http_connections_total{listener=\"web\"} 17",
            "tidegate_http_bytes_total{direction=\"out\",listener=\"web\"} 4200",
            "tidegate_http_answers_total{listener=\"web\",status=\"2xx\"} 12",
            "tidegate_http_answers_total{listener=\"web\",status=\"5xx\"} 5",
            "tidegate_http_refused_total{listener=\"web\"} 4",
            "tidegate_http_backend_up{backend=\"10.1.1.11:80\",group=\"api\",listener=\"web\"} 0",
            "tidegate_http_backend_errors_total{backend=\"10.1.1.11:80\",group=\"api\",listener=\"web\"} 3",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
