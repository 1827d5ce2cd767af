//! Replicas at the nodes of a Galera cluster, which certify each other's commits, and whose nodes are killed and cut
//! off.

mod cluster;
mod commits;
mod gone;
mod replicas;

use tokio::sync::OnceCell;

use self::cluster::Nodes;
use crate::support::{Client, Database, Service, balancer::lead_in_turns};

/// Runs a conformance case whose connections alternate between two replicas at two nodes.
pub(crate) async fn with_client<F: Future<Output = ()>>(case: impl FnOnce(Client) -> F) {
    struct Shared {
        _replicas: [Service; 2],
        port: u16,
    }
    static SHARED: OnceCell<Option<Shared>> = OnceCell::const_new();
    let start = async || {
        let database = Nodes::shared().await?.database().await;
        let replicas = [
            Service::start_for_good(database.url_of(0)).await,
            Service::start_for_good(database.url_of(1)).await,
        ];
        let port = lead_in_turns([replicas[0].port(), replicas[1].port()]);
        Some(Shared { _replicas: replicas, port })
    };
    if let Some(shared) = SHARED.get_or_init(start).await {
        case(Client::connecting_anew(shared.port)).await;
    }
}

/// Runs a case on a database of its own, with replicas at all nodes.
async fn with_database<F: Future<Output = ()>>(case: impl FnOnce(Database) -> F) {
    if let Some(nodes) = Nodes::shared().await {
        case(nodes.database().await).await;
    }
}
