/// Where the gateway does something else than nginx on purpose. `docs/gateway/differences.md` says each one's reason to
/// users; a test compares the two lists.
struct WantedDifference: Sendable {
    var id: String
    var reason: String
    /// Whether what was found is just this.
    var explains: @Sendable (Match.Found) -> Bool

    static let all: [WantedDifference] = [
        WantedDifference(
            id: "no-http-0.9-from-upstreams",
            reason: "Bytes that are no HTTP answer are an error of the upstream (502), never the client's body."
        ) { found in
            found.nginx.answers.first?.head == nil && found.subject.answers.first?.status == 502
                && found.exchange.label.contains("garbage")
        },
        WantedDifference(
            id: "interim-answers-of-upstreams",
            reason: "An upstream's 1xx is followed by its answer; nginx 1.22 takes the 1xx for the answer."
        ) { found in
            let said = found.subject.answers.map(\.rest.latin).joined()
            return found.exchange.label.hasPrefix("interim: ") && said.contains("HTTP/1.1 200 OK")
                && said.hasSuffix("ok")
        },
        WantedDifference(
            id: "no-http-0.9-from-clients",
            reason: "A request line without a version is refused (400): nobody sends it but who probes."
        ) { found in
            found.nginx.answers.first?.head == nil && found.subject.answers.first?.status == 400
                && found.exchange.label.hasPrefix("HTTP/0.9")
        },
    ]
}
