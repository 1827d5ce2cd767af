//! Cases of several replicas on one database, with replicas at several nodes.

use super::with_database;

/// Makes a test of a case on a database of its own.
macro_rules! at_three_nodes {
    ($($module:ident::$case:ident),+ $(,)?) => {
        $(
            #[tokio::test]
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
    exclusion::a_counter_guarded_by_the_lock_loses_no_count,
    exclusion::a_semaphore_lets_no_more_in_than_it_has_permits,
];
