//! What the gateway tells its operator.

use std::collections::HashMap;

use tidegate_control::show::{Filter, Rows, Source, Table, collect, print};

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
            control_restarts: 0,
            now: self.now,
        };
        collect(source, table, &filter)
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
