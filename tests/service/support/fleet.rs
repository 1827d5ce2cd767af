//! Several replicas on one database.

use super::{Client, Database, Service};

/// Replicas, and a tenant that all callers share.
pub(crate) struct Fleet {
    /// The processes.
    pub(crate) replicas: Vec<Service>,
    client: Client,
    /// The database of the replicas; a file is removed on drop.
    pub(crate) database: Database,
}

impl Fleet {
    /// Starts replicas on a database.
    pub(crate) async fn start(database: Database, count: usize) -> Self {
        Self::start_with(database, count, &[]).await
    }

    /// Starts replicas with settings.
    pub(crate) async fn start_with(database: Database, count: usize, settings: &[(&str, &str)]) -> Self {
        let mut replicas = Vec::new();
        for replica in 0..count {
            replicas.push(Service::start_with(database.url_of(replica), settings).await);
        }
        Self { client: replicas[0].client(), replicas, database }
    }

    /// A caller of a replica.
    pub(crate) fn at(&self, replica: usize) -> Client {
        self.client.at(self.replicas[replica % self.replicas.len()].port())
    }
}
