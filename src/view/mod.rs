//! What people see: tables, lines and reports. Pure: from values to text.

mod check;
mod explain;
mod one_line;
pub mod run;
mod table;

pub use check::findings;
pub use explain::explain;
pub use one_line::one_line;
