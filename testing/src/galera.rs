//! A Galera cluster in a folder: three nodes of the `MariaDB` that is installed.
//!
//! One node is set up, begins a cluster and is stopped; the other nodes are copies of it. So each node knows its
//! position in the cluster's history, and receives the later events, as after a short absence. No data is ever copied
//! while the cluster runs: that would take long, and need more programs.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use crate::{
    command::{failed, run},
    mariadb,
    port::free_port,
    programs::{Kind, Programs, find},
    recipe::{Options, Recipe},
};

/// The library of Debian's package `galera-4`.
const PROVIDER: &str = "/usr/lib/galera/libgalera_smm.so";
/// How long the node that the others are copies of may take to stop.
const STOP: Duration = Duration::from_secs(30);

/// A script that names the node from which another node gets the events that it lacks. The servers run it at both ends, which are
/// on one machine.
const STATE_TRANSFER: &str = r#"#!/bin/sh
while [ $# -gt 0 ] && [ "$1" != --mysqld-args ]; do
    case $1 in
        --role) role=$2 ;;
        --address) file=$2 ;;
        --datadir) data=$2 ;;
        --parent) parent=$2 ;;
        --gtid) state="$2 $state" ;;
        --gtid-domain-id) state="$state$2" ;;
        --bypass) events=yes ;;
    esac
    shift
done
if [ "$role" = donor ]; then
    # Without this the whole data would have to be sent.
    [ "$events" = yes ] || exit 22
    echo continue
    echo "$state" >"$file.new"
    mv "$file.new" "$file"
    echo "done $state"
else
    file=$data/state_transfer
    rm -f "$file"
    echo "ready $file"
    until [ -e "$file" ]; do
        kill -0 "$parent" || exit 32
        sleep 0.02
    done
    cat "$file"
fi
"#;

/// A script that starts a node at its last position. If the node was killed, its logs have the position.
const START: &str = r#"#!/bin/sh
folder=$(dirname "$0")
PATH=$folder:$PATH
"$@" --wsrep-recover --log-error="$folder/recovered.log" >/dev/null 2>&1
position=$(sed -n 's/.*Recovered position: //p' "$folder/recovered.log" | tail -n 1)
rm -f "$folder/recovered.log"
exec "$@" --wsrep-start-position="$position"
"#;

/// Sets up a cluster with a node in each folder. `provider` has options of the replication, each followed by a
/// semicolon.
pub fn set_up_cluster(folders: &[PathBuf], provider: &str) -> Result<Cluster, String> {
    let programs = programs()?;
    let members: Vec<_> = folders.iter().map(|_| free_port()).collect();
    let addresses = members.iter().map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>().join(",");
    let mut nodes = Vec::new();
    for (node, (folder, member)) in folders.iter().zip(&members).enumerate() {
        let settings = [
            "--innodb-buffer-pool-size=32M".to_owned(),
            "--binlog-format=ROW".to_owned(),
            "--innodb-autoinc-lock-mode=2".to_owned(),
            // docs/galera.md says why.
            "--innodb-lock-wait-timeout=1".to_owned(),
            "--wsrep-on=ON".to_owned(),
            format!("--wsrep-provider={PROVIDER}"),
            "--wsrep-cluster-name=locks".to_owned(),
            format!("--wsrep-cluster-address=gcomm://{addresses}"),
            "--wsrep-node-address=127.0.0.1".to_owned(),
            format!("--wsrep-node-name=node{node}"),
            "--wsrep-sst-method=events".to_owned(),
            format!(
                "--wsrep-provider-options={provider}gmcast.listen_addr=tcp://127.0.0.1:{member};\
                 ist.recv_addr=127.0.0.1:{};gcache.size=64M",
                free_port()
            ),
        ];
        let options = Options { connections: 300, settings: &settings.each_ref().map(String::as_str) };
        let mut recipe = if node == 0 {
            let recipe = mariadb::set_up(&programs, folder, options)?;
            begin_and_stop(&recipe)?;
            recipe
        } else {
            copy(&folders[0], folder)?;
            mariadb::recipe(&programs, folder, options)?
        };
        // The accounts exist by now.
        recipe.command.retain(|argument| !argument.starts_with("--init-file="));
        recipe.command.insert(0, folder.join("start").display().to_string());
        recipe.is_ready = Some(is_synced(recipe.port));
        script(folder, "start", START)?;
        script(folder, "wsrep_sst_events", STATE_TRANSFER)?;
        nodes.push(recipe);
    }
    Ok(Cluster { nodes })
}

/// A cluster that was set up.
#[derive(Debug)]
pub struct Cluster {
    /// How each node is started.
    pub nodes: Vec<Recipe>,
}

impl Cluster {
    /// How the first node is started to bootstrap the cluster.
    pub fn bootstrap_recipe(&self) -> Recipe {
        let mut recipe = self.nodes[0].clone();
        recipe.command.push("--wsrep-new-cluster".to_owned());
        recipe
    }

    /// Allows the first node to bootstrap the cluster again, after all nodes were killed. An operator does this by hand.
    pub fn allow_bootstrap(&self) -> Result<(), String> {
        let state = self.nodes[0].folder.join("data/grastate.dat");
        run(Command::new("sed").args(["-i", "s/safe_to_bootstrap: 0/safe_to_bootstrap: 1/"]).arg(state))
    }
}

/// Finds the programs. The error names the missing ones.
fn programs() -> Result<Programs, String> {
    if !Path::new(PROVIDER).is_file() {
        return Err(format!("galera-4 is not installed: there is no {PROVIDER}"));
    }
    match ["mariadb", "mariadb-install-db", "mariadbd"].map(find) {
        [Some(_), Some(_), Some(server)] => Ok(Programs { kind: Kind::MariaDb, server, base: "/usr".into() }),
        _ => Err("MariaDb is not installed".to_owned()),
    }
}

/// Begins a cluster of this node alone, which creates the accounts, and stops the node.
fn begin_and_stop(node: &Recipe) -> Result<(), String> {
    let mut first = node.clone();
    first.command.push("--wsrep-new-cluster".to_owned());
    first.is_ready = Some(is_synced(node.port));
    let mut process = first.start(None)?;
    process.signal("TERM");
    let deadline = Instant::now() + STOP;
    while process.ended().is_none() {
        if Instant::now() > deadline {
            return Err(format!("it does not stop within {STOP:?}"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Copies a node that was stopped, without its own records of the cluster's members and of past events.
fn copy(from: &Path, to: &Path) -> Result<(), String> {
    run(Command::new("cp").arg("-a").arg(from.join("data")).arg(to))?;
    for own in ["galera.cache", "gvwstate.dat"] {
        let own = to.join("data").join(own);
        if own.exists() {
            std::fs::remove_file(&own).map_err(failed(&own))?;
        }
    }
    Ok(())
}

fn script(folder: &Path, name: &str, text: &str) -> Result<(), String> {
    let path = folder.join(name);
    std::fs::write(&path, text).map_err(failed(&path))?;
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).map_err(failed(&path))
}

/// A command that succeeds when a node has caught up with the others, and lets callers in.
fn is_synced(port: u16) -> Vec<String> {
    let script = r#"mariadb --no-defaults --protocol=tcp --host=127.0.0.1 --port="$0" --user=locks --password=locks \
                    --skip-column-names --execute="SHOW STATUS LIKE 'wsrep_local_state_comment'" | grep -q Synced"#;
    ["sh", "-c", script, &port.to_string()].map(str::to_owned).to_vec()
}
