//! What people see: tables, lines and reports. Pure: from values to text.

pub mod run;
