//! Authentication and TLS: the settings, the checks at the start, and the files that are reread.

mod args;
mod bootstrap;
mod files;

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
};

use db_locks_api::{Authentication, AuthenticationOptions, Rules, Tls};
use db_locks_service::{access::Tokens, store::TokenStore};

pub(crate) use self::{
    args::{AuthMode, SecurityArgs},
    files::Files,
};
use crate::failure::Failure;

/// Refuses to listen, without authentication, on addresses that other machines can reach.
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

/// Creates the authentication, if it is required. Its files are added to those that are read again.
pub(crate) async fn authentication(
    args: &SecurityArgs,
    store: Arc<dyn TokenStore>,
    files: &mut Files,
) -> Result<Option<Arc<Authentication>>, Failure> {
    if args.mode() == AuthMode::None {
        if args.max_requests_per_second.is_some() {
            tracing::warn!(
                "DB_LOCKS_MAX_REQUESTS_PER_SECOND has no effect without DB_LOCKS_AUTH=required: it counts by credential"
            );
        }
        return Ok(None);
    }
    let others = [&args.bootstrap_token_file, &args.auth_rules, &args.tls_client_ca];
    let has_other_way = others.iter().any(|file| file.is_some());
    if !has_other_way && !Tokens::new(store.clone()).exist().await? {
        return Err("DB_LOCKS_AUTH=required, and nobody could authenticate: there is no token in the database; make one \
                    with `db-locks token create NAME --role admin`, or set DB_LOCKS_BOOTSTRAP_TOKEN_FILE, DB_LOCKS_AUTH_RULES \
                    or DB_LOCKS_TLS_CLIENT_CA"
            .into());
    }
    let options = AuthenticationOptions {
        protect_metrics: args.protect_metrics,
        protect_documents: args.protect_docs,
        max_requests_per_second: args.max_requests_per_second,
    };
    let authentication = Arc::new(Authentication::new(store, options));
    if let Some(path) = &args.bootstrap_token_file {
        let (sets, withdraws) = (authentication.clone(), authentication.clone());
        let watched = files.read("DB_LOCKS_BOOTSTRAP_TOKEN_FILE", vec![path.clone()], move |contents| {
            sets.set_bootstrap_secret(Some(bootstrap::secret(contents)?));
            Ok(Vec::new())
        })?;
        watched.when_unusable(move || withdraws.set_bootstrap_secret(None));
    }
    if let Some(path) = &args.auth_rules {
        let authentication = authentication.clone();
        files.read("DB_LOCKS_AUTH_RULES", vec![path.clone()], move |contents| {
            let text = contents.first().map(Vec::as_slice).unwrap_or_default();
            let rules = Rules::read(std::str::from_utf8(text).map_err(|_| "it is not UTF-8")?)?;
            let key_files = rules.key_files();
            authentication.set_rules(rules)?;
            Ok(key_files)
        })?;
    }
    Ok(Some(authentication))
}

/// Creates the TLS configuration, if TLS is set up. Its files are added to those that are read again.
pub(crate) fn tls(args: &SecurityArgs, files: &mut Files) -> Result<Option<Arc<Tls>>, Failure> {
    let (certificate, key) = match (&args.tls_cert, &args.tls_key) {
        (Some(certificate), Some(key)) => (certificate.clone(), key.clone()),
        (None, None) if args.tls_client_ca.is_none() => return Ok(None),
        _ => return Err("TLS needs both DB_LOCKS_TLS_CERT and DB_LOCKS_TLS_KEY".into()),
    };
    let paths = [Some(certificate), Some(key), args.tls_client_ca.clone()].into_iter().flatten().collect();
    let tls: Arc<OnceLock<Arc<Tls>>> = Arc::default();
    let shared = tls.clone();
    files.read("DB_LOCKS_TLS_CERT, DB_LOCKS_TLS_KEY, DB_LOCKS_TLS_CLIENT_CA", paths, move |contents| {
        let [certificate, key, client_ca @ ..] = contents else {
            return Err("there are two files at least".into());
        };
        let client_ca = client_ca.first().map(Vec::as_slice);
        match shared.get() {
            Some(tls) => tls.replace(certificate, key, client_ca)?,
            None => {
                let _ = shared.set(Arc::new(Tls::new(certificate, key, client_ca)?));
            }
        }
        Ok(Vec::new())
    })?;
    Ok(tls.get().cloned())
}
