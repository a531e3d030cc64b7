//! The small T-SQL dialect of the stand-in: words, then statements. What it does not know is an error that names it.

pub(crate) mod lexer;
pub(crate) mod parser;
pub(crate) mod statement;
