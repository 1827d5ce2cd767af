//! The Rust client, against the program.

mod blocking;
mod embedded;
mod guard;
mod guarded;
mod lost;
mod seed_words;
