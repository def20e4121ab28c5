internal import Foundation
internal import ProcessTestSupport

/// Requests over TLS, by curl: what is compared is the gateway, and curl speaks HTTP/2 as others do.
struct Curl: Sendable {
    enum Version: String, Sendable, CaseIterable {
        case http1 = "http1.1"
        case http2
    }

    var version: Version
    var host: String
    var requests: [Request]

    private static let mark = Bytes("\n-- the end of an answer --\n")

    /// All on one connection, one after the other.
    func answers(port: Int, patience: Int = 10_000) throws -> [Answer] {
        let place = NSTemporaryDirectory() + "parley-curl-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: place) }
        try self.plan(port: port).write(toFile: place, atomically: true, encoding: .utf8)
        let curl = try RunningProcess("curl", ["--disable", "--config", place])
        var turns = 0
        var none: [pollfd] = []
        while curl.isRunning, turns < patience {
            Socket.wait(&none, 1)
            turns += 1
        }
        curl.signal(SIGKILL)
        return Self.split(Bytes(curl.output)).map(Self.answer)
    }

    private func plan(port: Int) -> String {
        self.requests.map { request in
            var lines = [
                "url = \"https://\(self.host):\(port)\(request.target)\"", self.version.rawValue, "insecure", "silent",
                "include", "path-as-is", "globoff", "max-time = 8", "resolve = \"\(self.host):\(port):127.0.0.1\"",
                "write-out = \"\\n-- the end of an answer --\\n\"",
            ]
            switch request.method {
            case "HEAD": lines.append("head")
            default: lines.append("request = \"\(request.method)\"")
            }
            for field in request.fields where !field.hasPrefix("Host:") && !field.hasPrefix("Content-Length:") {
                lines.append("header = \"\(field.replacingOccurrences(of: "\"", with: "\\\""))\"")
            }
            if !request.body.isEmpty { lines.append("data-binary = \"\(request.body.latin)\"") }
            return lines.joined(separator: "\n")
        }.joined(separator: "\nnext\n") + "\n"
    }

    private static func split(_ bytes: Bytes) -> [Bytes] {
        var parts: [Bytes] = []
        var at = 0
        while let end = bytes.firstIndex(of: Self.mark, from: at) {
            parts.append(Bytes(bytes[at..<end]))
            at = end + Self.mark.count
        }
        if at < bytes.count { parts.append(Bytes(bytes[at...])) }
        return parts
    }

    private static func answer(_ bytes: Bytes) -> Answer {
        var answer = Answer()
        guard let end = bytes.firstIndex(of: Bytes.headEnd) else {
            answer.rest = bytes
            return answer
        }
        let line = bytes.prefix { $0 != 13 }
        answer.head = Answer.Head(line: line.latin, fields: Fields.parse(bytes[line.count..<end]))
        answer.body = Bytes(bytes[(end + 4)...])
        return answer
    }
}
