//! A primary, and a standby that receives every commit before it is answered.

use crate::support::{Database, Dialect, SOON, eventually, server::OwnServer, sql};

/// Two servers, one of which replicates the other.
pub(crate) struct Pair {
    pub(crate) primary: OwnServer,
    pub(crate) standby: OwnServer,
    dialect: Dialect,
}

impl Pair {
    /// Starts both; `None` if their programs are missing.
    pub(crate) async fn start(dialect: Dialect) -> Option<Self> {
        let primary = OwnServer::start(dialect).await?;
        let standby = primary.standby().await?;
        let pair = Self { primary, standby, dialect };
        pair.make_synchronous().await;
        Some(pair)
    }

    /// A URL that names both, the standby first.
    pub(crate) fn url(&self) -> String {
        let (url, own) = (&self.primary.database.url, self.primary.database.server_address());
        url.replace(&own, &format!("{},{own}", self.standby.database.server_address()))
    }

    /// Makes every commit wait until the standby has it.
    async fn make_synchronous(&self) {
        let (primary, standby) = (&self.primary.database.url, &self.standby.database.url);
        let is_synchronous = match self.dialect {
            Dialect::Postgres => {
                let names = "ALTER SYSTEM SET synchronous_standby_names = '*'";
                run(primary, &[names, "SELECT pg_reload_conf()"]).await;
                "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"
            }
            Dialect::MariaDb => {
                has_database(standby).await;
                run(standby, &["SET GLOBAL rpl_semi_sync_slave_enabled = 1", "STOP SLAVE", "START SLAVE"])
                    .await;
                let wait = "SET GLOBAL rpl_semi_sync_master_timeout = 3600000";
                let point = "SET GLOBAL rpl_semi_sync_master_wait_point = 'AFTER_SYNC'";
                run(primary, &[wait, point, "SET GLOBAL rpl_semi_sync_master_enabled = 1"]).await;
                "SELECT CAST(variable_value AS SIGNED) FROM information_schema.global_status \
                 WHERE variable_name = 'Rpl_semi_sync_master_clients'"
            }
            _ => {
                has_database(standby).await;
                let source = "INSTALL PLUGIN rpl_semi_sync_source SONAME 'semisync_source.so'";
                // AFTER_SYNC is its default.
                let wait = "SET GLOBAL rpl_semi_sync_source_timeout = 3600000";
                run(primary, &[source, wait, "SET GLOBAL rpl_semi_sync_source_enabled = 1"]).await;
                // The replica asks the source for this when it connects, so connecting comes last.
                let replica = "INSTALL PLUGIN rpl_semi_sync_replica SONAME 'semisync_replica.so'";
                let enable = "SET GLOBAL rpl_semi_sync_replica_enabled = 1";
                run(standby, &[replica, enable, "STOP REPLICA", "START REPLICA"]).await;
                "SELECT CAST(variable_value AS SIGNED) FROM performance_schema.global_status \
                 WHERE variable_name = 'Rpl_semi_sync_source_clients'"
            }
        };
        let probe = async || (sql::number(primary, is_synchronous).await.unwrap() == 1).then_some(());
        eventually("the standby is synchronous", SOON, probe).await;
    }

    /// Makes the standby the primary, as an operator would.
    pub(crate) async fn promote(&self) {
        let standby = &self.standby.database.url;
        let (receive, stop, forget) = match self.dialect {
            Dialect::Postgres => return run(standby, &["SELECT pg_promote(true, 30)"]).await,
            Dialect::MariaDb => ("STOP SLAVE IO_THREAD", "STOP SLAVE", "RESET SLAVE ALL"),
            _ => ("STOP REPLICA IO_THREAD", "STOP REPLICA", "RESET REPLICA ALL"),
        };
        // The standby applies everything that it received first.
        run(standby, &[receive]).await;
        let applied =
            "SELECT count(*) FROM information_schema.processlist WHERE state LIKE '%read all relay log%'";
        let probe = async || (sql::number(standby, applied).await.unwrap() > 0).then_some(());
        eventually("the replica has applied what it received", SOON, probe).await;
        run(standby, &[stop, forget, "SET GLOBAL read_only = 0"]).await;
    }

    /// Starts the killed primary as it was: it accepts writes, which no standby confirms.
    pub(crate) async fn bring_back_as_a_primary(&mut self) {
        self.primary.start_again();
        if self.dialect == Dialect::Postgres {
            let url = &self.primary.database.url;
            run(url, &["ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()"]).await;
        }
    }

    /// Starts the killed primary read-only, as an operator would.
    pub(crate) fn bring_back_read_only(&mut self) {
        let setting = match self.dialect {
            Dialect::Postgres => ["-c", "default_transaction_read_only=on"].as_slice(),
            _ => &["--read-only=1"],
        };
        self.primary.start_again_with(setting);
    }

    /// The address of the database now.
    pub(crate) fn promoted(&self) -> &Database {
        &self.standby.database
    }
}

/// Waits until a replica has the database that its own URL names.
async fn has_database(replica: &str) {
    let made = "SELECT count(*) FROM information_schema.schemata WHERE schema_name = 'db_locks_test'";
    let probe = async || (sql::number(replica, made).await.ok() == Some(1)).then_some(());
    eventually("the replica has the database", SOON, probe).await;
}

async fn run(url: &str, statements: &[&str]) {
    for statement in statements {
        sql::execute(url, statement).await.unwrap();
    }
}
