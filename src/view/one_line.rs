//! Text from files and clusters, made safe to show.

/// The text with its control characters escaped: names may hold anything, also what moves a terminal's cursor.
pub fn one_line(text: &str) -> String {
    let shown =
        |c: char| if c.is_control() { c.escape_default().collect() } else { String::from(c) };
    text.chars().map(shown).collect()
}
