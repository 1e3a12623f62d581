//! What people see: tables, lines and reports. Pure: from values to text.

mod explain;
mod one_line;
pub mod run;
mod table;

pub use explain::explain;
pub use one_line::one_line;
