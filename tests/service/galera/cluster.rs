//! A Galera cluster of this test run, as processes.

use std::{io::Write, ops::Range, path::PathBuf, sync::OnceLock};

use db_locks_testing::{Cluster, leash::Leashed, set_up_cluster};
use tempfile::TempDir;
use tokio::task::spawn_blocking;

use crate::support::{Database, Dialect, SOON, eventually, random_text, sql};

/// The number of nodes: two of them are a majority.
pub(crate) const NODES: usize = 3;
/// The time after which a silent node counts as lost. It is shorter than the default, which allows for a busy machine.
const SOON_GONE: &str = "evs.keepalive_period=PT0.5S;evs.suspect_timeout=PT3S;evs.inactive_timeout=PT6S;";

/// The nodes of a cluster, some of which may be gone.
pub(crate) struct Nodes {
    cluster: Cluster,
    processes: Vec<Option<Leashed>>,
    _folders: Vec<TempDir>,
}

impl Nodes {
    /// The cluster that tests share, started by the first of them; `None` if its programs are missing. It lives until
    /// the test process ends.
    pub(crate) async fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Nodes>> = OnceLock::new();
        let start = || SHARED.get_or_init(|| Self::start("", true)).as_ref();
        spawn_blocking(start).await.unwrap()
    }

    /// A cluster of one test, whose nodes may be killed; `None` if its programs are missing.
    pub(crate) async fn own() -> Option<Self> {
        spawn_blocking(|| Self::start(SOON_GONE, false)).await.unwrap()
    }

    fn start(provider: &str, for_good: bool) -> Option<Self> {
        let folder = || tempfile::Builder::new().prefix("db-locks-server-").tempdir().unwrap();
        let mut folders: Vec<_> = (0..NODES).map(|_| folder()).collect();
        let paths: Vec<PathBuf> = folders.iter().map(|folder| folder.path().to_owned()).collect();
        let cluster = set_up_cluster(&paths, provider).map_err(left_out).ok()?;
        let mut processes = Vec::new();
        for (node, path) in paths.iter().enumerate() {
            let recipe = if node == 0 { cluster.bootstrap_recipe() } else { cluster.nodes[node].clone() };
            let process = recipe.start(for_good.then_some(path.as_path())).map_err(left_out).ok()?;
            processes.push(Some(process));
        }
        // The leashes of nodes that live on remove them.
        if for_good {
            folders.drain(..).for_each(|folder| drop(folder.keep()));
        }
        Some(Self { cluster, processes, _folders: folders })
    }

    /// The URL of a node.
    pub(crate) fn url(&self, node: usize) -> &str {
        &self.cluster.nodes[node].url
    }

    /// An empty database at all nodes.
    pub(crate) async fn database(&self) -> Database {
        let name = format!("db_locks_test_{}", random_text());
        sql::execute(self.url(0), &format!("CREATE DATABASE {name}")).await.unwrap();
        let urls: Vec<_> = self.cluster.nodes.iter().map(|node| node.url.clone()).collect();
        for url in &urls {
            let named =
                format!("SELECT count(*) FROM information_schema.schemata WHERE schema_name = '{name}'");
            let there = async || (sql::number(url, &named).await.unwrap() == 1).then_some(());
            eventually("the node has the database", SOON, there).await;
        }
        Database::on_nodes(Dialect::MariaDb, &urls, &name)
    }

    /// Runs a statement at a node.
    pub(crate) async fn execute(&self, node: usize, statement: &str) {
        sql::execute(self.url(node), statement).await.unwrap();
    }

    /// Kills a node.
    pub(crate) fn kill(&mut self, node: usize) {
        // The drop sends SIGKILL.
        self.processes[node] = None;
    }

    /// Starts nodes again, which join the others. If the majority was lost, they form a cluster only when all of them
    /// run.
    pub(crate) async fn start_again(&mut self, nodes: Range<usize>) {
        let recipes = self.cluster.nodes[nodes.clone()].iter().cloned();
        let starts: Vec<_> =
            recipes.map(|recipe| spawn_blocking(move || recipe.start(None).unwrap())).collect();
        for (node, start) in nodes.zip(starts) {
            self.processes[node] = Some(start.await.unwrap());
        }
    }

    /// Bootstraps the cluster again with its first node, after all nodes were killed.
    pub(crate) async fn begin_anew(&mut self) {
        self.cluster.allow_bootstrap().unwrap();
        let recipe = self.cluster.bootstrap_recipe();
        self.processes[0] = Some(spawn_blocking(move || recipe.start(None)).await.unwrap().unwrap());
    }
}

/// Reports that tests are skipped, past the test harness, which would hide the message.
fn left_out(why: String) -> String {
    let line = format!("\n*** Galera IS LEFT OUT of the tests: {why} ***\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    why
}

/// On a developer's machine a missing cluster is reported, and its tests are skipped. In CI it is a failure.
#[tokio::test]
async fn a_cluster_is_there() {
    let ci = std::env::var("CI").is_ok_and(|value| value == "true");
    assert!(Nodes::shared().await.is_some() || !ci, "with CI=true no database may be left out");
}
