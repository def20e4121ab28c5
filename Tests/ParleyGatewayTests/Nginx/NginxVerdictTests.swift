import ParleyGateway
import Testing

/// A configuration and what nginx 1.22.1 said about it. What is no whole file was included into `http`.
struct NginxVerdict: Sendable, CustomTestStringConvertible {
    enum Result: Sendable, Hashable {
        case accepted
        case rejectedAt(Int)
        /// Without a line.
        case rejected
    }

    var name: String
    var result: Result
    var text: String

    init(_ name: String, _ result: Result, _ text: String) {
        self.name = name
        self.result = result
        self.text = text
    }

    var testDescription: String { self.name }

    static let all = Self.grammar + Self.sockets + Self.proxying + Self.policy + Self.rewriting
}

@Suite struct NginxVerdictTests {
    /// Where we are stricter than nginx, each with its reason.
    private static let differences = [
        // nginx checks it only when several servers share the socket; such a name never matches.
        "server name with a star in the middle"
    ]

    /// The files that nginx found beside the configuration.
    private static let others = ["/etc/nginx/users": ""]

    @Test(arguments: NginxVerdict.all)
    func isAsNginxSays(_ verdict: NginxVerdict) {
        let found = nginxProblems(verdict.text, Self.others)
        guard !Self.differences.contains(verdict.name) else {
            #expect(verdict.result == .accepted)
            #expect(!found.isEmpty)
            return
        }
        switch verdict.result {
        case .accepted: #expect(found.isEmpty, "\(found)")
        case .rejected: #expect(!found.isEmpty)
        case .rejectedAt(let line): #expect(found.first?.place.line == line, "\(found)")
        }
    }

    @Test func theCorpusIsLarge() {
        #expect(NginxVerdict.all.count >= 60)
        #expect(NginxVerdict.all.contains { $0.result == .accepted })
    }
}
