//! This machine: files in.

mod files;
mod happening;
mod load;
mod read;

pub use files::{Files, Located, Note};
pub use happening::Happening;
pub use load::{ChooseError, Chosen, choose};
pub use read::{ReadError, read};
