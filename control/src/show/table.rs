//! Tables without borders: two blanks between columns, numbers to the right.

use comfy_table::{CellAlignment, Table};

/// One column: its heading, and whether it holds numbers.
pub(super) struct Column(pub(super) &'static str, pub(super) Side);

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

/// The text, each line ended, without blanks at line ends.
pub(super) fn table(columns: &[Column], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(columns.iter().map(|column| column.0));
    table.add_rows(rows);
    for (column, shape) in columns.iter().zip(table.column_iter_mut().collect::<Vec<_>>()) {
        shape.set_padding((0, 2));
        if column.1 == Side::Right {
            shape.set_cell_alignment(CellAlignment::Right);
        }
    }
    finish(&table.to_string())
}

/// Lines `name  value` with the values in one column.
pub(super) fn fields(fields: &[(&str, String)]) -> String {
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    fields.iter().map(|(name, value)| format!("  {name:width$}  {value}\n")).collect()
}

fn finish(text: &str) -> String {
    text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}
