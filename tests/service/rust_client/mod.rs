//! The Rust client, against the program.

mod guard;
mod lost;
mod seed_words;
