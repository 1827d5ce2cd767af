//! The Rust client, against the program.

mod blocking;
mod embedded;
mod guard;
mod guarded;
mod http2;
mod lost;
mod seed_words;
