use super::*;

#[test]
fn every_pool_has_connections_and_none_has_too_many() {
    for connections in 3..=1_000 {
        let Shares { hot, transactions, general, membership } = Shares::of(connections);
        assert_eq!(hot + general + membership, connections as usize);
        assert!(membership >= 1 && general >= 1 && hot >= 1, "{connections}");
        assert!((1..=hot).contains(&transactions), "{connections}");
        assert!(hot >= general, "{connections}");
        assert!(general >= 2 || connections < 5, "{connections}: a connection that lists do not use");
    }
    assert_eq!(Shares::of(10), Shares { hot: 6, transactions: 4, general: 2, membership: 2 });
}
