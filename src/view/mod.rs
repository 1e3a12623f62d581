//! What people see: tables, lines and reports. Pure: from values to text.

mod one_line;

pub use one_line::one_line;
