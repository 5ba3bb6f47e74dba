//! Tables for people.

use comfy_table::{CellAlignment, ContentArrangement, Table as Grid, presets};
use serde::de::DeserializeOwned;

use super::{
    BackendRow, BindingRow, DropRow, FlowRow, HttpRow, ListenerRow, NeighborRow, NetworkRow, PoolRow,
    PortRow, QosRow, RouteRow, SessionRow, ShortcutRow, StatusRow, Table, VipRow, VpcRow, VtepRow, WorkerRow,
};

/// A row of a table for people.
pub trait Columns {
    /// The heads of the columns.
    const HEAD: &'static [&'static str];

    /// One cell per column.
    fn cells(&self) -> Vec<String>;
}

/// The table that `json`, a list of its rows, describes. Lines are as long as they must be, so that `grep` finds a row
/// whole.
///
/// # Errors
/// When the rows are of another version of the program.
pub fn table(table: Table, json: &str) -> Result<String, serde_json::Error> {
    match table {
        Table::Status => grid::<StatusRow>(json),
        Table::Ports => grid::<PortRow>(json),
        Table::Workers => grid::<WorkerRow>(json),
        Table::Vpcs => grid::<VpcRow>(json),
        Table::Networks => grid::<NetworkRow>(json),
        Table::Vips => grid::<VipRow>(json),
        Table::Qos => grid::<QosRow>(json),
        Table::Routes => grid::<RouteRow>(json),
        Table::Neighbors => grid::<NeighborRow>(json),
        Table::Vteps => grid::<VtepRow>(json),
        Table::Shortcuts => grid::<ShortcutRow>(json),
        Table::Flows => grid::<FlowRow>(json),
        Table::Drops => grid::<DropRow>(json),
        Table::NatSessions => grid::<SessionRow>(json),
        Table::NatBindings => grid::<BindingRow>(json),
        Table::NatPools => grid::<PoolRow>(json),
        Table::LbListeners => grid::<ListenerRow>(json),
        Table::LbBackends => grid::<BackendRow>(json),
        Table::LbHttp => grid::<HttpRow>(json),
    }
}

fn grid<T: Columns + DeserializeOwned>(json: &str) -> Result<String, serde_json::Error> {
    let rows: Vec<T> = serde_json::from_str(json)?;
    let mut grid = Grid::new();
    grid.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    grid.set_header(T::HEAD.iter().map(|head| head.to_uppercase()));
    grid.add_rows(rows.iter().map(Columns::cells));
    let numbers = |column: usize| {
        !rows.is_empty() && rows.iter().all(|row| row.cells()[column].bytes().all(|b| b.is_ascii_digit()))
    };
    for column in (0..T::HEAD.len()).filter(|column| numbers(*column)) {
        if let Some(column) = grid.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    Ok(grid.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n"))
}

/// `yes` or `no`.
pub(super) fn yes(is: bool) -> String {
    if is { "yes" } else { "no" }.to_owned()
}

/// A time that people read at a glance.
pub(super) fn age(ms: u64) -> String {
    match ms / 1_000 {
        0 => format!("{ms}ms"),
        s @ 1..60 => format!("{s}s"),
        s @ 60..3_600 => format!("{}m{:02}s", s / 60, s % 60),
        s @ 3_600..86_400 => format!("{}h{:02}m", s / 3_600, s / 60 % 60),
        s => format!("{}d{:02}h", s / 86_400, s / 3_600 % 24),
    }
}

/// A share in percent.
pub(super) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 { "-".to_owned() } else { format!("{:.1}%", part as f64 * 100.0 / whole as f64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        let ages =
            [(999, "999ms"), (59_999, "59s"), (61_000, "1m01s"), (7_260_000, "2h01m"), (90_000_000, "1d01h")];
        for (ms, text) in ages {
            assert_eq!(age(ms), text);
        }
    }

    #[test]
    fn a_row_is_one_line() {
        let json = r#"[{"network": null, "reason": "no_route", "phrase": "No route to the destination.", "packets": 7}]"#;
        let text = table(Table::Drops, json).unwrap();
        let lines: Vec<Vec<&str>> = text.lines().map(|l| l.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["NETWORK", "REASON", "PACKETS", "MEANING"]);
        assert_eq!(lines[1][..3], ["(none)", "no_route", "7"]);
    }
}
