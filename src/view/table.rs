//! Tables whose columns line up.

/// Blanks between two columns.
const GAP: &str = "  ";

/// Rows of cells as text, the first row being the heads. A cell may have several lines.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.flat_map(|cell| cell.lines()).map(|line| line.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<Vec<&str>> = row.iter().map(|cell| cell.lines().collect()).collect();
        let height = cells.iter().map(Vec::len).max().unwrap_or_default();
        for number in 0..height {
            let parts = cells.iter().zip(&widths).map(|(cell, width)| {
                let line = cell.get(number).copied().unwrap_or_default();
                format!("{line:width$}")
            });
            text.push_str(parts.collect::<Vec<_>>().join(GAP).trim_end());
            text.push('\n');
        }
    }
    text
}

/// The text in lines of at most so many characters: broken between words, and within words that are longer than a line.
pub fn wrap(text: &str, width: usize) -> String {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => {
                let letters: Vec<char> = word.chars().collect();
                lines.extend(letters.chunks(width.max(1)).map(String::from_iter));
            }
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_cells_may_have_lines() {
        let rows = [["A", "B", "C"], ["äöü", "1\n22", "x"], ["a", "", "y\nz"]];
        let rows = rows.map(|row| row.map(String::from).to_vec());
        assert_eq!(table(&rows), "A    B   C\näöü  1   x\n     22\na        y\n         z\n");
        assert_eq!(table(&[]), "");
    }

    #[test]
    fn long_words_are_broken_and_others_are_not() {
        assert_eq!(wrap("add SYS_ADMIN, CHOWN", 14), "add SYS_ADMIN,\nCHOWN");
        assert_eq!(wrap("abcdefgh ij", 3), "abc\ndef\ngh\nij");
        assert_eq!(wrap("short", 80), "short");
    }
}
