//! Callers and their rights: identities, roles, key patterns, and bearer tokens. Nothing here knows of HTTP.

mod glob;
mod identity;
mod key_patterns;
mod role;
mod secret;
mod token;
mod token_cache;
mod tokens;

pub use self::{
    glob::{Glob, InvalidGlob, MAX_GLOB_CHARS, MAX_GLOBS, MAX_PATTERN_CHARS},
    identity::{Identity, credential},
    key_patterns::KeyPatterns,
    role::{InvalidRole, Role},
    secret::{Secret, SecretHash},
    token::{Scope, Token, TokenId},
    token_cache::{TokenCache, TokenCheck},
    tokens::{FIRST_ADMIN, NewToken, TokenError, Tokens},
};
