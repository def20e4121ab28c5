/// Where the gateway does something else than nginx on purpose. `docs/gateway/differences.md` says each one's reason to
/// users; a test compares the two lists.
struct WantedDifference: Sendable {
    var id: String
    var reason: String
    /// Whether what was found is just this.
    var explains: @Sendable (Match.Found) -> Bool

    static let all: [WantedDifference] = [
        WantedDifference(
            id: "errors-of-calls",
            reason: "A client of gRPC gets the gateway's own errors as gRPC has them: 200, grpc-status, no body."
        ) { found in
            found.exchange.label.hasPrefix("gRPC: ") && !found.subject.answers.isEmpty
                && zip(found.nginx.answers, found.subject.answers).allSatisfy { nginx, subject in
                    nginx.status >= 400 && subject.status == 200 && subject.body.isEmpty
                        && subject.head?.values("grpc-status").count == 1
                }
        },
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
        WantedDifference(
            id: "no-carriage-return-within-a-line",
            reason:
                "A carriage return that is not followed by the end of a line is refused (400): others end the line there."
        ) { found in
            found.exchange.label.hasPrefix("CR CR LF") && found.subject.answers.first?.status == 400
        },
        WantedDifference(
            id: "contradictory-lengths-of-upstreams",
            reason: "An answer whose length is no number, or is said twice, is an error of the upstream (502)."
        ) { found in
            ["bad-length", "length-and-chunks", "two-lengths"].contains { found.exchange.label.contains($0) }
                && found.subject.answers.first?.status == 502
        },
        WantedDifference(
            id: "fields-named-by-connection",
            reason: "What a client's Connection field names is for that connection only, and is not passed on."
        ) { found in
            found.exchange.label.contains("Connection: X-Hop") && found.items == ["forwarded request: bytes"]
        },
        WantedDifference(
            id: "spaces-are-escaped",
            reason: "A space that rules have decoded is escaped again: a request line has three words."
        ) { found in
            found.exchange.label.contains("%20")
                && found.subject.received.map(\.head.printable).joined().replacing("%20", with: " ")
                    == found.nginx.received.map(\.head.printable).joined()
        },
        WantedDifference(
            id: "no-length-with-204",
            reason: "An answer with 204 has no Content-Length, whatever the upstream says (RFC 9110, section 8.6)."
        ) { found in
            found.nginx.answers.first?.status == 204 && found.items == ["field content-length"]
        },
        WantedDifference(
            id: "quotes-in-a-realm",
            reason: "A quote in the realm of auth_basic is escaped, so that the field can be read."
        ) { found in
            found.items == ["field www-authenticate"] && found.differences[0].contains("\\\"")
        },
        WantedDifference(
            id: "the-name-on-error-pages",
            reason: "Pages for errors bear our name; without a version it is a letter longer than nginx's."
        ) { found in
            found.items == ["field content-length"] && found.exchange.label.hasPrefix("HEAD")
                && Self.length(found.subject) == Self.length(found.nginx).map { $0 + 1 }
        },
        WantedDifference(
            id: "answers-flow",
            reason: "What an upstream has sent of an answer is passed on when it comes, not when a buffer is full."
        ) { found in
            found.exchange.label.contains("half-body-silent")
                && found.items.allSatisfy { ["body", "body's length"].contains($0) }
                && found.subject.answers.map(\.body.printable).joined()
                    .hasPrefix(found.nginx.answers.map(\.body.printable).joined())
        },
        WantedDifference(
            id: "bodies-behind-answers-to-head",
            reason: "A connection on which something follows an answer to HEAD is closed; nginx uses it again."
        ) { found in
            // The next request on the connection is the one that nginx loses.
            found.exchange.label.contains("/slow-body X-Script: slow-body")
                && found.subject.answers.first?.status == 200
        },
        WantedDifference(
            id: "no-x-accel-redirect",
            reason: "An upstream cannot send a request elsewhere within the gateway; its answer is passed on."
        ) { found in found.exchange.label.contains("X-Script: accel") },
    ]
    private static func length(_ observation: Observation) -> Int? {
        observation.answers.first?.head?.values("content-length").first.flatMap { Int($0) }
    }
}
