//! Maps and sets that no client can slow down.
//!
//! Clients choose keys, names of tenants and tokens. If they could tell which of them have the same hash, they would fill a map with those, and
//! each look-up would compare with all of them. So the hashes depend on a secret of the process.

use std::collections::{HashMap, HashSet};

/// How values are hashed.
#[cfg(not(test))]
pub type Hashing = std::hash::RandomState;

/// How values are hashed: always in the same way, so that a simulation can be repeated.
#[cfg(test)]
pub type Hashing = std::hash::BuildHasherDefault<std::hash::DefaultHasher>;

/// A map that no client can slow down.
pub type SeededMap<K, V> = HashMap<K, V, Hashing>;

/// A set that no client can slow down.
pub type SeededSet<T> = HashSet<T, Hashing>;
