//! Clients without a credential from several networks, of which each address of the machine is one.

use tokio::net::TcpSocket;

use super::*;

/// Clients without a credential get six of these slots.
const SLOTS: usize = 8;

impl Server {
    /// Connects from the address 127.0.0.`host`, and sends something.
    async fn send_from(&self, host: u8, request: &str) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, host], 0).into()).unwrap();
        let mut stream = socket.connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    /// The same, and the answer has come.
    async fn ask_from(&self, host: u8) -> TcpStream {
        let mut stream = self.send_from(host, NOW).await;
        assert!(answer(&mut stream, "now").await.starts_with("HTTP/1.1 200"));
        stream
    }
}

#[tokio::test]
async fn a_newcomer_is_answered_and_a_connection_of_the_network_with_the_most_is_closed() {
    let server = Server::start_with(ServeOptions {
        max_connections: SLOTS,
        requires_credentials: true,
        grace: DEADLINE,
        tls: None,
    })
    .await;
    let first = server.ask_from(1).await;
    let [second, third] = [server.ask_from(1).await, server.ask_from(1).await];
    let refused = rest(server.send_from(1, NOW).await).await;
    assert!(refused.starts_with("HTTP/1.1 503"), "its network has its share: {refused}");
    let mut kept = vec![first, server.ask_from(2).await];
    let silent = server.send_from(2, "").await;
    assert_eq!(rest(third).await, "", "two networks have two connections each");
    for host in [3, 4, 5] {
        kept.push(server.ask_from(host).await);
    }
    assert_eq!(rest(silent).await, "", "the fifth network needs a slot of another");
    kept.push(server.ask_from(6).await);
    assert_eq!(rest(second).await, "", "each network has one connection");
    let refused = rest(server.send_from(7, NOW).await).await;
    assert!(refused.starts_with("HTTP/1.1 503"), "nobody has more than it would have: {refused}");
    for stream in &mut kept {
        stream.write_all(NOW.as_bytes()).await.unwrap();
        answer(stream, "now").await;
    }
}
