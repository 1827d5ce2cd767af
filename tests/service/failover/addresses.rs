//! Failovers behind one address: that of a proxy, or one that moves to the primary. Guards invariants 1, 2, 3 and 5.

use std::{os::unix::fs::PermissionsExt, path::Path};

use serde_json::json;
use tempfile::TempDir;

use super::{
    pair::Pair,
    scenario::{Loss, Scenario},
};
use crate::{
    faults::proxy::Proxy,
    support::{
        Dialect, SOON, eventually,
        leash::{Launch, Leashed},
        names::free_port,
        sql,
    },
};

/// `HAProxy` in front of both servers; it ends on drop.
struct HaProxy {
    _process: Leashed,
    _folder: TempDir,
    port: u16,
}

/// A check that succeeds if the server accepts writes. `HAProxy` passes the address and the port as third and fourth
/// argument.
const CHECK: &str = "#!/bin/sh\nexport PGCONNECT_TIMEOUT=1\n\
    asked=$(psql -h \"$3\" -p \"$4\" -U locks -d postgres -Atc \
    \"SELECT pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on'\")\n[ \"$asked\" = f ]\n";

impl HaProxy {
    /// Starts `HAProxy`; `None` if it is not installed.
    fn start(pair: &Pair) -> Option<Self> {
        let program = Path::new("/usr/sbin/haproxy");
        if !program.exists() {
            eprintln!("*** HAPROXY IS LEFT OUT of the tests: it is not installed ***");
            return None;
        }
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let (check, config) = (folder.path().join("check"), folder.path().join("haproxy.cfg"));
        std::fs::write(&check, CHECK).unwrap();
        std::fs::set_permissions(&check, PermissionsExt::from_mode(0o755)).unwrap();
        let config_text = format!(
            "global\n  external-check\n  insecure-fork-wanted\n\
             defaults\n  mode tcp\n  retries 0\n  timeout connect 1s\n  timeout client 1h\n  timeout server 1h\n  \
             timeout check 2s\n\
             listen locks\n  bind 127.0.0.1:{port}\n  option external-check\n  external-check path /usr/bin:/bin\n  \
             external-check command {}\n  \
             default-server check inter 500ms fall 1 rise 1 on-marked-down shutdown-sessions\n  \
             server a {}\n  server b {}\n",
            check.display(),
            pair.primary.database.server_address(),
            pair.standby.database.server_address()
        );
        std::fs::write(&config, config_text).unwrap();
        let command =
            [program.display().to_string(), "-db".into(), "-f".into(), config.display().to_string()];
        let log = folder.path().join("haproxy.log");
        let (command, env) = (command.to_vec(), vec![]);
        let process = Leashed::start(&Launch { command, env, signal: "KILL", folder: None, log: &log });
        Some(Self { _process: process, _folder: folder, port })
    }
}

#[tokio::test]
async fn postgres_behind_haproxy() {
    let Some(mut pair) = Pair::start(Dialect::Postgres).await else { return };
    let Some(haproxy) = HaProxy::start(&pair) else { return };
    let url = pair.primary.database.through_port(haproxy.port);
    let writable = "SELECT CASE WHEN pg_is_in_recovery() THEN 0 ELSE 1 END::bigint";
    let leads = async || (sql::number(&url, writable).await.ok() == Some(1)).then_some(());
    eventually("HAProxy has found the primary", SOON, leads).await;
    let checked = async || sql::number(&url, writable).await.is_ok_and(|number| number == 1);
    for _ in 0..20 {
        if !checked().await {
            eventually("HAProxy leads to the primary only", SOON, leads).await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let scenario = Scenario::start(&url).await;
    let promoted = scenario.fail_over(&mut pair, Loss::Killed, |_| ()).await;
    pair.bring_back_read_only();
    scenario.check("PostgreSQL, HAProxy with checks every 500 ms, killed", promoted).await;
}

/// The address moves to the promoted standby; later, by mistake, back to the former primary.
#[tokio::test]
async fn postgres_at_an_address_that_moves() {
    let Some(mut pair) = Pair::start(Dialect::Postgres).await else { return };
    let address = Proxy::before(&pair.primary.database).await;
    let scenario = Scenario::start(&pair.primary.database.through_port(address.port())).await;
    let promoted = scenario.fail_over(&mut pair, Loss::Killed, |pair| address.lead_to(pair.promoted())).await;
    pair.bring_back_as_a_primary().await;
    address.lead_to(&pair.primary.database);
    address.cut_all();
    for svc in &scenario.clients {
        let refused = async || (svc.acquire("k", json!({"wait_ms": 0})).await.status == 503).then_some(());
        eventually("the former primary is refused", SOON, refused).await;
    }
    let counts = "SELECT count(*) FROM locks WHERE locks.key = 'k'";
    assert_eq!(sql::number(&pair.primary.database.url, counts).await.unwrap(), 0);
    scenario.replicas[0].until_logged("former primary").await;
    address.lead_to(pair.promoted());
    address.cut_all();
    for svc in &scenario.clients {
        let back = async || (svc.acquire("k", json!({"wait_ms": 0})).await.status != 503).then_some(());
        eventually("writes are back", SOON, back).await;
    }
    scenario.check("PostgreSQL, an address that moves, killed", promoted).await;
}
