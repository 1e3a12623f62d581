//! Text in quotation marks as Go's `%q` writes it.
//!
//! Upstream's messages are full of it, and people search for those messages.

use std::fmt::Write as _;

/// The text in double quotes; what cannot be seen is escaped.
pub fn go_quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            _ if is_printable(c) => out.push(c),
            // Writing to a String cannot fail.
            '\0'..' ' | '\x7f' => _ = write!(out, "\\x{:02x}", u32::from(c)),
            '\0'..='\u{ffff}' => _ = write!(out, "\\u{:04x}", u32::from(c)),
            _ => _ = write!(out, "\\U{:08x}", u32::from(c)),
        }
    }
    out.push('"');
    out
}

/// Whether a character shows. The standard library knows, and tells by what it escapes; behind another character, because
/// it escapes combining ones at the start, which Go does not.
fn is_printable(c: char) -> bool {
    let text: String = ['a', c].iter().collect();
    let escaped = text.escape_debug().count();
    escaped == 2 || matches!(c, '\'')
}

#[cfg(test)]
mod tests {
    use super::*;

    // What Go's strconv.Quote makes of the same texts.
    #[test]
    fn it_quotes_as_go_does() {
        for (text, quoted) in [
            ("plain-name", r#""plain-name""#),
            ("it's \"so\" \\ so", r#""it's \"so\" \\ so""#),
            ("\x07\x08\x0c\n\r\t\x0b", r#""\a\b\f\n\r\t\v""#),
            ("\0\x1b[31m\x7f", r#""\x00\x1b[31m\x7f""#),
            ("Größe 日本語 🚢", r#""Größe 日本語 🚢""#),
            ("e\u{301} \u{301}", "\"e\u{301} \u{301}\""),
            ("\u{80} \u{a0} \u{200b} \u{2028} \u{feff}", r#""\u0080 \u00a0 \u200b \u2028 \ufeff""#),
            ("\u{e0001}", r#""\U000e0001""#),
            ("\u{ad}", r#""\u00ad""#),
        ] {
            assert_eq!(go_quote(text), quoted);
        }
    }
}
