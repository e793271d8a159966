//! The same over TLS, which every cloud provider speaks.

use super::*;

/// A connection over TLS, and the server's side of it.
async fn over_tls() -> (Io, tokio_rustls::server::TlsStream<TcpStream>) {
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (
        signed.cert.der().clone(),
        signed.signing_key.serialize_der(),
    );
    let server = rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key.try_into().unwrap())
        .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (address, listener) = listen().await;
    let connecting = async {
        let socket = TcpStream::connect(address).await.unwrap();
        let name = "localhost".try_into().unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
        connector.connect(name, socket).await.unwrap()
    };
    let accepting = async {
        let (socket, _) = listener.accept().await.unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
        acceptor.accept(socket).await.unwrap()
    };
    let (client, server) = tokio::join!(connecting, accepting);
    (Either::Right(Box::new(client)), server)
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Reads one request with the body `{}`.
async fn hear_over(server: &mut tokio_rustls::server::TlsStream<TcpStream>) {
    let mut heard = Vec::new();
    while !heard.ends_with(b"{}") {
        assert_ne!(server.read_buf(&mut heard).await.unwrap(), 0, "hung up");
    }
}

fn asking(body: Bytes) -> (Request<Bytes>, HeaderValue) {
    let mut request = Request::new(body);
    *request.method_mut() = Method::POST;
    (request, HeaderValue::from_static("localhost"))
}

#[tokio::test]
async fn a_large_request_goes_out_over_tls_to_its_last_byte() {
    let (io, mut server) = over_tls().await;
    let idle = Arc::new(Idle::default());
    let (request, host) = asking(vec![b'x'; LARGE].into());
    let serving = async {
        let mut heard = vec![0; LARGE];
        server.read_exact(&mut heard).await.unwrap();
        // The head was longer than nothing.
        let mut rest = [0; 1 << 10];
        assert!(server.read(&mut rest).await.unwrap() > 0);
        let said = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
        server.write_all(said.as_bytes()).await.unwrap();
        server.flush().await.unwrap();
        server
    };
    let (answer, mut server) =
        tokio::join!(Connection::new(io, &idle).exchange(request, &host), serving);
    assert_eq!(text(answer.ok().unwrap()).await, "hi");

    // And another one on the same connection.
    let (request, host) = asking(Bytes::from_static(b"{}"));
    let serving = async {
        hear_over(&mut server).await;
        let said =
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nho\r\n0\r\n\r\nHTTP/1.1 200";
        server.write_all(said.as_bytes()).await.unwrap();
        server.flush().await.unwrap();
        server
    };
    let again = idle.take().unwrap();
    let (answer, _server) = tokio::join!(again.exchange(request, &host), serving);
    assert_eq!(text(answer.ok().unwrap()).await, "ho");
    // What nobody asked for is in the same record.
    assert_eq!(idle.count(), 0);
}

#[tokio::test]
async fn an_answer_over_tls_is_whole_only_where_its_end_was_said() {
    for (said, says_goodbye, is_whole) in [
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
            false,
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nhi",
            true,
            false,
        ),
        ("HTTP/1.1 200 OK\r\n\r\nhi", true, true),
        // Anybody on the way can cut a connection.
        ("HTTP/1.1 200 OK\r\n\r\nhi", false, false),
    ] {
        let (io, mut server) = over_tls().await;
        let (request, host) = asking(Bytes::from_static(b"{}"));
        let serving = async {
            hear_over(&mut server).await;
            server.write_all(said.as_bytes()).await.unwrap();
            server.flush().await.unwrap();
            if says_goodbye {
                server.shutdown().await.unwrap();
            }
            drop(server);
        };
        let idle = Arc::default();
        let (answer, ()) =
            tokio::join!(Connection::new(io, &idle).exchange(request, &host), serving);
        let body = BodyExt::collect(answer.ok().unwrap().into_body()).await;
        assert_eq!(body.is_ok(), is_whole, "{said:?} {says_goodbye}");
    }
}
