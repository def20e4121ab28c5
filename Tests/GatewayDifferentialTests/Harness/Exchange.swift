internal import Testing

/// What a client does, step by step. Connections have numbers; number 0 goes on from exchange to exchange for as long as
/// the gateway keeps it.
enum ClientStep: Sendable {
    case send(Int, Bytes)
    /// Reads one answer; an answer to HEAD has no body.
    case answer(Int, toHead: Bool = false)
    /// Reads until this text has come.
    case text(Int, String)
    /// Reads until the gateway ends the connection.
    case ended(Int)
    case closeWriting(Int)
    case close(Int)
    case reset(Int)
    /// From another address of this machine: `127.0.0.2`.
    case open(Int, from: String)
    /// Until the upstreams have got so many requests of this exchange.
    case received(Int)
    /// Until the gateway has ended a connection to an upstream before its script was through.
    case cut
    /// Over TLS, all of them, and an answer for each.
    case curl(Curl)
    /// For what depends on time itself, such as a rate.
    case pause(milliseconds: Int)
}

/// One or more requests that are compared together.
struct Exchange: Sendable {
    struct Compared: OptionSet, Sendable {
        let rawValue: Int
        static let answers = Compared(rawValue: 1)
        /// How many requests came, and what stood in them.
        static let received = Compared(rawValue: 2)
        /// Who got them, and on which connection.
        static let instances = Compared(rawValue: 4)
        static let connections = Compared(rawValue: 8)
        static let bodies = Compared(rawValue: 16)
        static let all: Compared = [.answers, .received, .instances, .connections, .bodies]
        /// The order in which requests come that were sent at the same time.
        static let inOrder = Compared(rawValue: 32)
    }

    var label: String
    var steps: [ClientStep]
    var compared: Compared = [.all, .inOrder]

    init(_ label: String, _ steps: [ClientStep], comparing compared: Compared = [.all, .inOrder]) {
        self.label = label
        self.steps = steps
        self.compared = compared
    }

    /// One request on the connection that stays.
    init(_ request: Request, comparing compared: Compared = [.all, .inOrder]) {
        self.init(
            request.label,
            [.send(0, request.bytes), .answer(0, toHead: request.method == "HEAD")],
            comparing: compared
        )
    }

    /// Bytes that need not be a request, on a connection of their own, and whatever comes until it ends or an answer is
    /// complete.
    static func raw(_ label: String, _ text: String) -> Exchange {
        Exchange(label, [.send(1, Bytes(text)), .answer(1)])
    }
}

struct Request: Sendable {
    var method: String
    var target: String
    var fields: [String]
    var body: Bytes
    var version = "HTTP/1.1"

    /// A host is added where none is among the fields, and a length where there is a body and nothing says how long it is.
    init(_ method: String, _ target: String, _ fields: [String] = [], body: String = "", version: String = "HTTP/1.1") {
        self.method = method
        self.target = target
        self.version = version
        self.body = Bytes(body)
        self.fields = fields.contains { $0.lowercased().hasPrefix("host:") } ? fields : ["Host: t.test"] + fields
        let saysLength = fields.contains {
            $0.lowercased().hasPrefix("content-length:") || $0.lowercased().hasPrefix("transfer-encoding:")
        }
        if !body.isEmpty, !saysLength { self.fields.append("Content-Length: \(self.body.count)") }
    }

    static func get(_ target: String, _ fields: String...) -> Request { Request("GET", target, fields) }

    /// Each part of the body a chunk.
    static func chunked(
        _ method: String,
        _ target: String,
        _ fields: [String] = [],
        _ parts: [String],
        trailer: String = ""
    ) -> Request {
        let chunks = parts.map { String($0.utf8.count, radix: 16) + "\r\n\($0)\r\n" }.joined()
        return Request(
            method,
            target,
            fields + ["Transfer-Encoding: chunked"],
            body: chunks + "0\r\n\(trailer)\r\n"
        )
    }

    var head: String {
        "\(self.method) \(self.target) \(self.version)\r\n" + self.fields.map { $0 + "\r\n" }.joined() + "\r\n"
    }

    var bytes: Bytes { Bytes(self.head) + self.body }
    var label: String {
        ([self.method, self.target] + self.fields.dropFirst(self.fields.first == "Host: t.test" ? 1 : 0))
            .joined(separator: " ")
    }
}

/// A configuration, as both gateways read it, and what is sent to it.
struct Scenario: Sendable, CustomTestStringConvertible {
    var name: String
    /// `{listen}`, `{listen2}` and `{listen3}` are free ports, `{up1}` to `{up6}`, `{dead}` and `{full}` upstreams,
    /// `{folder}` is a folder with `server.pem`, `server.key` and the scenario's own files.
    var configuration: String
    var exchanges: [Exchange]
    var scripts: [String: Script] = [:]
    var files: [String: String] = [:]
    /// Nothing else runs meanwhile: what is compared depends on when requests come.
    var isTimed = false

    init(
        _ name: String,
        _ configuration: String,
        scripts: [String: Script] = [:],
        files: [String: String] = [:],
        isTimed: Bool = false,
        _ exchanges: [Exchange]
    ) {
        self.name = name
        self.configuration = configuration
        self.scripts = scripts
        self.files = files
        self.isTimed = isTimed
        self.exchanges = exchanges
    }

    var testDescription: String { self.name }
}
