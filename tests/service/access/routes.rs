//! Every route, with every credential.
