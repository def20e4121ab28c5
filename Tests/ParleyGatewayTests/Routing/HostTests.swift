import NIOCore
import Testing

@testable import ParleyGateway

@Suite struct HostTests {
    private let scratch = RegexScratch()

    @Test func findsTheServerThatNginxFinds() throws {
        var servers: [(index: Int, names: [ServerName])] = []
        var asked = 0
        for line in try Facts.lines("names") {
            let words = line.split(separator: " ").map(String.init)
            if line == "socket" {
                servers = []
            } else if words[0] != ">" {
                servers.append((servers.count, words.map(Self.name)))
            } else {
                asked += 1
                let table = try ServerTable(servers, fallback: 0)
                #expect(self.answer(words[1], table) == words[2...].joined(separator: " "), "\(line) among \(servers)")
            }
        }
        #expect(asked > 300)
    }

    /// Index, `$1` and `$host`, each `-` when empty.
    private func answer(_ authority: String, _ table: ServerTable) -> String {
        var variables = RequestVariables()
        let bytes = Facts.bytes(authority)
        guard authority != "-" else {
            return "\(table.find(ByteBuffer(), scratch: self.scratch, variables: &variables)) - -"
        }
        guard let host = try? RequestHost(bytes.span) else { return "400 - -" }
        let text = host.text(of: ByteBuffer(bytes: bytes))
        let index = table.find(text, scratch: self.scratch, variables: &variables)
        let capture = variables.capture(1).map { String(buffer: $0) } ?? "-"
        return "\(index) \(capture) \(Facts.text(text.readableBytesView))"
    }

    static func name(_ text: String) -> ServerName {
        switch text.first {
        case "~": .regex(RegexModel(pattern: String(text.dropFirst())))
        case "*": .suffix(String(text.dropFirst()))
        case ".": .nameAndSuffix(text)
        default: text == "\"\"" ? .exact("") : text.last == "*" ? .prefix(String(text.dropLast())) : .exact(text)
        }
    }

    @Test(arguments: 0..<20) func agreesWithALinearSearch(_ seed: UInt64) throws {
        var numbers = SeededNumbers(seed)
        func host() -> String {
            (0..<Int.random(in: 1...4, using: &numbers)).map { _ in
                ["a", "b", "c", "ab"].randomElement(using: &numbers) ?? ""
            }
            .joined(separator: ".")
        }
        let servers = (0..<8).map { index in
            let names: [ServerName] = (0..<3).map { _ in
                switch Int.random(in: 0..<4, using: &numbers) {
                case 0: .exact(host())
                case 1: .suffix("." + host())
                case 2: .nameAndSuffix("." + host())
                default: .prefix(host() + ".")
                }
            }
            return (index: index, names: names)
        }
        let table = try ServerTable(servers, fallback: 99)
        var variables = RequestVariables()
        for _ in 0..<300 {
            let host = host()
            let found = table.find(ByteBuffer(string: host), scratch: self.scratch, variables: &variables)
            #expect(found == Self.model(servers, host) ?? 99, "\(host) among \(servers)")
        }
    }

    private static func model(_ servers: [(index: Int, names: [ServerName])], _ host: String) -> Int? {
        var best: (rank: Int, length: Int, index: Int)?
        for (index, names) in servers {
            for name in names {
                var candidate: (rank: Int, length: Int)?
                switch name {
                case .exact(let name): if name == host { candidate = (3, 0) }
                case .suffix(let suffix): if host.hasSuffix(suffix) { candidate = (2, suffix.count) }
                case .nameAndSuffix(let suffix):
                    if host.hasSuffix(suffix) { candidate = (2, suffix.count) }
                    if "." + host == suffix { candidate = (3, 0) }
                case .prefix(let prefix): if host.hasPrefix(prefix) { candidate = (1, prefix.count) }
                case .regex: break
                }
                guard let candidate else { continue }
                if let best, (best.rank, best.length) >= candidate { continue }
                best = (candidate.rank, candidate.length, index)
            }
        }
        return best?.index
    }

    @Test func mapsAsNginxDoes() throws {
        var model = MapModel(source: "", variable: "m", entries: [], fallback: "d")
        var asked = 0
        for line in try Facts.lines("maps") {
            let words = line.split(separator: " ").map(String.init)
            if words[0] == "map" {
                model.entries = []
                model.matchesHosts = words.count > 1
            } else if words[0] != ">" {
                model.entries.append(
                    .init(key: Self.key(line, model.matchesHosts), value: Template("\(model.entries.count)"))
                )
            } else {
                asked += 1
                let table = try MapTable(model)
                var variables = RequestVariables()
                let value = ByteBuffer(string: words[1] == "-" ? "" : words[1])
                let found = table.find(value, scratch: self.scratch, variables: &variables)
                let capture = variables.capture(1).map { String(buffer: $0) } ?? "-"
                let text = String(decoding: found.constant ?? [], as: UTF8.self)
                #expect("\(text) \(capture)" == words[2...3].joined(separator: " "), "\(line) in \(model)")
            }
        }
        #expect(asked > 150)
    }

    private static func key(_ text: String, _ matchesHosts: Bool) -> MapModel.Key {
        if text.hasPrefix("~*") { return .regex(RegexModel(pattern: String(text.dropFirst(2)), ignoresCase: true)) }
        if text.hasPrefix("~") { return .regex(RegexModel(pattern: String(text.dropFirst()))) }
        return matchesHosts && (text.hasPrefix("*") || text.hasPrefix(".") || text.hasSuffix("*"))
            ? .wildcard(text) : .exact(text)
    }
}
