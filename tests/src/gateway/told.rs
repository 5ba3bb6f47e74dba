//! What the gateway tells its operator.

use std::time::Duration;

use std::collections::HashMap;

use tidegate_control::{
    config::Id,
    nat::log::{Entry, line::line},
    show::{Filter, Rows, Source, Table, collect, print},
};

use tidegate_fastpath::table::nat::Traffic;

use super::Gateway;

impl Gateway {
    /// The rows of a table, as `tidegate show` with these filters (`key=value`) gets them.
    ///
    /// # Errors
    /// What is wrong with the filters.
    pub fn show(&mut self, table: Table, filters: &[&str], limit: Option<usize>) -> Result<Rows, String> {
        let mut filter = Filter { limit, ..Filter::default() };
        filters.iter().try_for_each(|text| filter.add(text))?;
        let (devices, namespaces) = (HashMap::new(), []);
        let source = Source {
            gateway: &mut self.control,
            devices: &devices,
            namespaces: &namespaces,
            proxies: &[],
            control_restarts: 0,
            now: self.now,
            uptime: Duration::from_nanos(self.now.0),
        };
        collect(source, table, &filter)
    }

    /// What passed a VIP so far, as operators see it.
    ///
    /// # Panics
    /// When there is no such VIP.
    pub fn traffic(&mut self, vip: &str) -> Traffic {
        self.show(Table::Vips, &[], None).unwrap_or_else(|why| panic!("{why}"));
        let id = self.control.desired().vip(&Id::new(vip).expect("an id")).expect("a VIP");
        self.control.compiled().tables.vip(id).expect("tables have it").meter.shown()
    }

    /// What the session log has been told since the last call, each event in words: what, whose port inside, the public
    /// address and port, the remote. Times are not shown.
    ///
    /// # Panics
    /// When an event is of a later time than now.
    pub fn logged(&mut self) -> Vec<String> {
        const WALL_MS: u64 = 1_772_366_400_000;
        let events = self.control.take_log(usize::MAX);
        let entries = events.into_iter().map(|event| Entry::of(event, &self.control, self.now, WALL_MS));
        let words = |entry: Entry| {
            assert!(entry.at_ms <= WALL_MS, "{entry:?} is not over yet");
            let line: serde_json::Value = serde_json::from_str(&line(&entry)).expect("a line of JSON");
            let keys = ["event", "vpc", "vip", "protocol", "inside", "inside_port", "public", "public_port"];
            let keys = keys.into_iter().chain(["first_port", "remote", "remote_port", "service"]);
            let word =
                |key| line.get(key).map(|value| value.as_str().map_or(value.to_string(), str::to_owned));
            keys.filter_map(word).collect::<Vec<_>>().join(" ")
        };
        entries.map(words).collect()
    }

    /// The same for people: the lines below the head in some order, each with single spaces.
    ///
    /// # Panics
    /// When the filters are refused.
    pub fn shown(&mut self, table: Table, filters: &[&str]) -> Vec<String> {
        let rows = self.show(table, filters, None).unwrap_or_else(|why| panic!("{why}"));
        let text = print::table(table, &rows.json).expect("rows of this version");
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut lines: Vec<_> = text.lines().skip(1).map(words).collect();
        lines.sort_unstable();
        lines
    }
}
