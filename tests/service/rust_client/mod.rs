//! The Rust client, against the program.

mod blocking;
mod embedded;
mod guard;
mod lost;
mod seed_words;
