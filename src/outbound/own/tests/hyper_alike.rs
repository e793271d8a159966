//! Answers are read as hyper's client reads them.

use super::*;

/// What a client makes of an answer: its status, its fields, its data; whether it is whole.
type Read = Option<(StatusCode, http::HeaderMap, Vec<u8>, bool)>;

async fn collected<B: http_body::Body<Data = Bytes> + Unpin>(response: Response<B>) -> Read
where
    B::Error: std::fmt::Debug,
{
    let (mut head, mut body) = response.into_parts();
    // Of two lengths hyper goes by the same, but leaves the other one there.
    if head.headers.contains_key(header::TRANSFER_ENCODING) {
        head.headers.remove(header::CONTENT_LENGTH);
    }
    let (mut data, mut is_whole) = (Vec::new(), true);
    while let Some(frame) = body.frame().await {
        match frame.map(Frame::into_data) {
            Ok(Ok(piece)) => data.extend_from_slice(&piece),
            Ok(Err(_)) => {}
            Err(_) => is_whole = false,
        }
    }
    Some((head.status, head.headers, data, is_whole))
}

/// What our client and hyper's make of `said`, of which `cuts` are sent one by one.
async fn both(said: &[u8], cuts: &[usize]) -> [Read; 2] {
    let (address, listener) = listen().await;
    let serve = async || {
        let (mut socket, _) = listener.accept().await.unwrap();
        socket.set_nodelay(true).unwrap();
        hear(&mut socket).await;
        let mut from = 0;
        for to in cuts.iter().copied().chain([said.len()]) {
            let to = to.clamp(from, said.len());
            // Who has heard enough may be gone.
            let _ = socket.write_all(&said[from..to]).await;
            tokio::task::yield_now().await;
            from = to;
        }
    };
    let origin = origin(address, Http2::Auto, 1);
    let ours = async {
        match ask(&origin).await {
            Ok(response) => collected(response).await,
            Err(_) => None,
        }
    };
    let (ours, ()) = tokio::join!(ours, serve());
    let theirs = async {
        let socket = TcpStream::connect(address).await.unwrap();
        let (mut sender, driver) = hyper::client::conn::http1::Builder::new()
            .handshake(TokioIo::new(socket))
            .await
            .unwrap();
        let request = Request::post("/")
            .body(Full::new(Bytes::from_static(b"{}")))
            .unwrap();
        let reading = async {
            match sender.send_request(request).await {
                Ok(response) => collected(response).await,
                Err(_) => None,
            }
        };
        tokio::join!(reading, driver).0
    };
    let (theirs, ()) = tokio::join!(theirs, serve());
    [ours, theirs]
}

/// Lines of answers, good and bad, and pieces of bodies.
fn answers() -> impl Strategy<Value = String> {
    let first = sample::select(vec![
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200\r\n",
        "HTTP/1.1 500 It broke\r\n",
        "HTTP/1.1 204 No Content\r\n",
        "HTTP/1.0 200 OK\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\n",
        "\r\nHTTP/1.1 200 OK\n",
    ]);
    let field = prop_oneof![
        6 => sample::select(vec![
            "transfer-encoding: chunked\r\n",
            "Transfer-Encoding:\tgzip, Chunked \r\n",
            "transfer-encoding: identity\r\n",
            "content-length: 5\r\n",
            "Content-Length: 005\r\n",
            "content-length: 5, 5\r\n",
            "content-length: 6\r\n",
            "content-length: x\r\n",
            "connection: close\r\n",
            "x-a:\r\n",
            "x-b: caf\u{e9}  \r\n",
            "x-c : y\r\n",
            "no field\r\n",
        ])
        .prop_map(str::to_owned),
        1 => "[ -~]{0,12}\r\n",
    ];
    let piece = prop_oneof![
        6 => "[a-z]{1,20}".prop_map(|data| format!("{:x}\r\n{data}\r\n", data.len())),
        1 => "[a-z]{17,20}".prop_map(|data| format!("{:X} ; a=b\r\n{data}\r\n", data.len())),
        1 => "[0-9a-fx;\r\n ]{1,8}",
        3 => Just("0\r\n\r\n".to_owned()),
        1 => Just("0\r\nx: y\r\n\r\n".to_owned()),
    ];
    let fields = proptest::collection::vec(field, 0..4);
    let pieces = proptest::collection::vec(piece, 0..6);
    (first, fields, pieces).prop_map(|(first, fields, pieces)| {
        let mut said = first.to_owned();
        let _ = write!(said, "{}\r\n{}", fields.concat(), pieces.concat());
        said
    })
}

#[test]
fn answers_are_read_as_hyper_reads_them_however_they_are_cut() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let cuts = proptest::collection::vec(0..200_usize, 0..5);
    proptest!(|(said in answers(), mut cuts in cuts)| {
        cuts.sort_unstable();
        let [ours, theirs] = runtime.block_on(both(said.as_bytes(), &cuts));
        prop_assert_eq!(ours, theirs, "{:?}", said);
    });
}
