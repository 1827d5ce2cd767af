//! Who may ask: the settings, what they refuse at the start, and the files that are read again.

mod args;
mod bootstrap;
mod files;

use std::{net::SocketAddr, sync::Arc};

use db_locks_api::{Authentication, AuthenticationOptions};
use db_locks_service::{access::Tokens, store::TokenStore};

pub(crate) use self::{
    args::{AuthMode, SecurityArgs},
    files::Files,
};
use crate::failure::Failure;

/// Refuses to listen beyond this machine without authentication.
pub(crate) fn check_addresses(args: &SecurityArgs, addresses: &[SocketAddr]) -> Result<(), Failure> {
    let beyond = addresses.iter().find(|address| !address.ip().is_loopback());
    match beyond {
        Some(address) if args.mode() == AuthMode::None && !args.insecure => Err(format!(
            "{address} can be reached from other machines (DB_LOCKS_LISTEN), and nobody would need a credential: set \
             DB_LOCKS_AUTH=required, or give --insecure (DB_LOCKS_INSECURE=true) to let everybody in who can connect"
        )
        .into()),
        _ => Ok(()),
    }
}

/// What finds out who asks, where that is required. Its files join those that are read again.
pub(crate) async fn authentication(
    args: &SecurityArgs,
    store: Arc<dyn TokenStore>,
    files: &mut Files,
) -> Result<Option<Arc<Authentication>>, Failure> {
    if args.mode() == AuthMode::None {
        return Ok(None);
    }
    let has_other_way = args.bootstrap_token_file.is_some();
    if !has_other_way && !Tokens::new(store.clone()).exist().await? {
        return Err("DB_LOCKS_AUTH=required, and nobody could authenticate: there is no token in the database; make one \
                    with `db-locks token create NAME --role admin`, or set DB_LOCKS_BOOTSTRAP_TOKEN_FILE"
            .into());
    }
    let options =
        AuthenticationOptions { protect_metrics: args.protect_metrics, protect_documents: args.protect_docs };
    let authentication = Arc::new(Authentication::new(store, options));
    if let Some(path) = &args.bootstrap_token_file {
        let authentication = authentication.clone();
        files.read("DB_LOCKS_BOOTSTRAP_TOKEN_FILE", vec![path.clone()], move |contents| {
            authentication.set_bootstrap_secret(bootstrap::secret(contents)?);
            Ok(())
        })?;
    }
    Ok(Some(authentication))
}
