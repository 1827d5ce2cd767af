//! What holds of several replicas on one database holds of replicas at several nodes.

use super::with_database;

/// Makes a test of a case on a database of its own.
macro_rules! at_three_nodes {
    ($($(#[$attribute:meta])* $module:ident::$case:ident),+ $(,)?) => {
        $(
            #[tokio::test]
            $(#[$attribute])*
            async fn $case() {
                with_database(crate::replicas::$module::$case).await;
            }
        )+
    };
}

at_three_nodes![
    start::replicas_that_start_at_once_migrate_safely,
    order::thirty_waiters_over_three_replicas_are_granted_in_order,
    order::a_newcomer_at_another_replica_does_not_overtake,
    hand_over::a_release_at_one_replica_grants_at_another,
    hand_over::the_end_of_a_lease_grants_at_another_replica,
    hand_over::a_grant_works_at_every_replica,
    hand_over::growing_at_one_replica_grants_at_another,
    churn::tokens_grow_while_two_replicas_delete_and_create_the_same_keys,
    crash::the_queue_behind_a_killed_replica_moves,
];

// All three nodes stood still for 50 s in one of 36 runs: see docs/galera.md. `CI_LONG=1 .ci/run` runs these.
at_three_nodes![
    #[ignore = "the cluster itself stands still now and then while all nodes write the same rows"]
    exclusion::a_counter_guarded_by_the_lock_loses_no_count,
    #[ignore = "the cluster itself stands still now and then while all nodes write the same rows"]
    exclusion::a_semaphore_lets_no_more_in_than_it_has_permits,
];
