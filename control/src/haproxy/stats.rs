//! What HAProxy counts: the answer to `show stat` on its socket, a table of comma-separated values.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use serde::Deserialize;

/// HAProxy answers at once, or not at all.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Longest answer, in bytes.
const ANSWER_MAX: u64 = 16 << 20;

/// A line of the table. A value that does not apply is 0 or empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Line {
    /// The frontend or backend.
    #[serde(rename = "# pxname")]
    pub proxy: String,
    /// `FRONTEND`, `BACKEND`, or a server of the backend.
    #[serde(rename = "svname")]
    pub server: String,
    /// Connections (of a frontend) or requests under way.
    #[serde(rename = "scur", default)]
    pub current: Option<u64>,
    /// All of them since the process started.
    #[serde(rename = "stot", default)]
    pub total: Option<u64>,
    /// Bytes from clients.
    #[serde(rename = "bin", default)]
    pub bytes_in: Option<u64>,
    /// Bytes to clients.
    #[serde(rename = "bout", default)]
    pub bytes_out: Option<u64>,
    /// Requests refused by a rule.
    #[serde(rename = "dreq", default)]
    pub denied: Option<u64>,
    /// Connections refused by a rule.
    #[serde(rename = "dcon", default)]
    pub denied_connections: Option<u64>,
    /// Connections to a server that failed.
    #[serde(rename = "econ", default)]
    pub connect_errors: Option<u64>,
    /// Answers of a server that broke off.
    #[serde(rename = "eresp", default)]
    pub response_errors: Option<u64>,
    /// Answers with status 100 to 199.
    #[serde(rename = "hrsp_1xx", default)]
    pub answers_1xx: Option<u64>,
    /// Answers with status 200 to 299.
    #[serde(rename = "hrsp_2xx", default)]
    pub answers_2xx: Option<u64>,
    /// Answers with status 300 to 399.
    #[serde(rename = "hrsp_3xx", default)]
    pub answers_3xx: Option<u64>,
    /// Answers with status 400 to 499.
    #[serde(rename = "hrsp_4xx", default)]
    pub answers_4xx: Option<u64>,
    /// Answers with status 500 and above.
    #[serde(rename = "hrsp_5xx", default)]
    pub answers_5xx: Option<u64>,
    /// Answers with status of no known class.
    #[serde(rename = "hrsp_other", default)]
    pub answers_other: Option<u64>,
    /// `UP`, `DOWN`, `UP 1/3`, `no check`, `OPEN`, ...
    #[serde(default)]
    pub status: String,
    /// Seconds since the status changed.
    #[serde(rename = "lastchg", default)]
    pub since_s: Option<u64>,
    /// What the last check found: `L4OK`, `L7STS`, ...
    #[serde(default)]
    pub check_status: String,
    /// The HTTP status that the last check got.
    #[serde(default)]
    pub check_code: Option<u64>,
    /// The same in words.
    #[serde(default)]
    pub last_chk: String,
}

/// What a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A listener.
    Listener,
    /// The backends of a listener that serve the same requests.
    Pool,
    /// A backend.
    Server,
}

impl Line {
    /// What it is about.
    pub fn kind(&self) -> Kind {
        match self.server.as_str() {
            "FRONTEND" => Kind::Listener,
            "BACKEND" => Kind::Pool,
            _ => Kind::Server,
        }
    }

    /// The listener.
    pub fn listener(&self) -> &str {
        self.proxy.split_once(':').map_or(&self.proxy, |(listener, _)| listener)
    }

    /// The group that rules name; empty for backends that serve the rest.
    pub fn group(&self) -> &str {
        self.proxy.split_once(':').map_or("", |(_, group)| group)
    }

    /// Answers by the class of their status.
    pub fn answers(&self) -> [(&'static str, u64); 6] {
        [
            ("1xx", self.answers_1xx),
            ("2xx", self.answers_2xx),
            ("3xx", self.answers_3xx),
            ("4xx", self.answers_4xx),
            ("5xx", self.answers_5xx),
            ("other", self.answers_other),
        ]
        .map(|(class, count)| (class, count.unwrap_or(0)))
    }

    /// What the last check found.
    pub fn reason(&self) -> String {
        let code = self.check_code.map_or_else(String::new, |code| format!(" {code}"));
        match self.last_chk.as_str() {
            "" => format!("{}{code}", self.check_status),
            words => format!("{}{code}: {words}", self.check_status),
        }
    }

    /// Whether a server gets requests, as far as its checks go. One without checks always does.
    pub fn is_up(&self) -> bool {
        self.status.starts_with("UP") || self.status == "no check" || self.status.starts_with("NOLB")
    }
}

/// Reads the table.
///
/// # Errors
/// When it is none.
pub fn parse(text: &str) -> Result<Vec<Line>, csv::Error> {
    csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes()).deserialize().collect()
}

/// Asks a running HAProxy. Takes at most a second or two.
///
/// # Errors
/// When it does not answer, or not with a table.
pub fn ask(socket: &Path) -> io::Result<Vec<Line>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.write_all(b"show stat\n")?;
    let mut answer = String::new();
    stream.take(ANSWER_MAX).read_to_string(&mut answer)?;
    parse(&answer).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of HAProxy 2.6.12, shortened.
    const TABLE: &str = "\
# pxname,svname,qcur,qmax,scur,smax,slim,stot,bin,bout,dreq,dresp,ereq,econ,eresp,wretr,wredis,status,weight,lastchg,check_status,check_code,hrsp_1xx,hrsp_2xx,hrsp_3xx,hrsp_4xx,hrsp_5xx,hrsp_other,last_chk,dcon,
web,FRONTEND,,,2,3,2000,17,1700,4200,1,0,0,,,,,OPEN,,,,,0,8,1,3,5,0,,4,
web,10.1.1.11:80,0,0,0,1,,9,900,2100,,0,,2,1,0,0,DOWN,100,12,L4CON,,0,6,0,0,3,0,Connection refused,,
web,BACKEND,0,0,0,1,200,17,1700,4200,0,0,,2,1,0,0,UP,100,12,,,0,8,1,3,5,0,,,
";

    #[test]
    fn the_table_is_read() {
        let lines = parse(TABLE).unwrap();
        assert_eq!(lines.len(), 3);
        let (front, server) = (&lines[0], &lines[1]);
        assert_eq!(
            (front.server.as_str(), front.current, front.denied_connections),
            ("FRONTEND", Some(2), Some(4))
        );
        assert_eq!(
            (server.server.as_str(), server.status.as_str(), server.since_s),
            ("10.1.1.11:80", "DOWN", Some(12))
        );
        assert_eq!((server.total, server.connect_errors, server.denied), (Some(9), Some(2), None));
        assert_eq!(server.last_chk, "Connection refused");
        let answers = [("1xx", 0), ("2xx", 8), ("3xx", 1), ("4xx", 3), ("5xx", 5), ("other", 0)];
        assert_eq!(front.answers(), answers);
    }

    #[test]
    fn what_is_no_table_is_refused() {
        assert!(parse("Unknown command.\n\n").unwrap().is_empty(), "no line, so nothing is known");
        assert!(parse("# pxname,svname,scur\nweb,FRONTEND,many\n").is_err());
    }
}
