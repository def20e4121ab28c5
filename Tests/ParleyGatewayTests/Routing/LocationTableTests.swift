import NIOCore
import Testing

@testable import ParleyGateway

@Suite struct LocationTableTests {
    private let scratch = RegexScratch()

    private func find(_ path: String, in table: LocationTable, head: RequestHead = RequestHead()) -> String? {
        var variables = RequestVariables()
        let found = table.find(ByteBuffer(string: path), head: head, scratch: self.scratch, variables: &variables)
        return found.map {
            $0.lacksSlash ? String(buffer: table.slashRedirect(to: $0.index, args: ByteBuffer())) : "\($0.index)"
        }
    }

    /// Random sets of locations, nested up to three deep, all with a `proxy_pass`.
    @Test func findsWhatNginxFinds() throws {
        var written: [(number: Int, parent: Int?, match: LocationModel.Match)] = []
        var table = try LocationTable([])
        var asked = 0
        for line in try Facts.lines("locations") {
            let words = line.split(separator: " ", maxSplits: 3).map(String.init)
            switch words[0] {
            case "server": written = []
            case ">":
                if asked == 0 || !written.isEmpty && table.locations.count != written.count {
                    table = try LocationTable(Self.models(written, inside: nil))
                }
                asked += 1
                let found = self.find(words[1], in: table)
                #expect(found ?? "none" == words[2], "\(line) among \(written)")
            default:
                table = try LocationTable([])
                let match: LocationModel.Match =
                    switch words[2] {
                    case "=": .exact(words[3])
                    case "^~": .prefix(words[3], isFinal: true)
                    case "~": .regex(RegexModel(pattern: words[3]))
                    case "~*": .regex(RegexModel(pattern: words[3], ignoresCase: true))
                    default: .prefix(words[3], isFinal: false)
                    }
                written.append((Int(words[0]) ?? 0, Int(words[1]), match))
            }
        }
        #expect(asked > 500)
    }

    private static func models(
        _ written: [(number: Int, parent: Int?, match: LocationModel.Match)],
        inside parent: Int?
    ) -> [LocationModel] {
        written.filter { $0.parent == parent }.map { line in
            var model = LocationModel(match: line.match)
            model.action = .proxy(ProxyTarget(scheme: .http, destination: .upstream("b"), host: "b"))
            model.locations = self.models(written, inside: line.number)
            return model
        }
    }

    @Test func capturesGroups() throws {
        let table = try LocationTable([
            LocationModel(match: .regex("^/users/(?<id>[0-9]+)/(.*)$")),
            LocationModel(match: .prefix("/", isFinal: false)),
        ])
        var variables = RequestVariables()
        let path = ByteBuffer(string: "/users/42/cart")
        #expect(table.find(path, head: RequestHead(), scratch: self.scratch, variables: &variables)?.index == 0)
        #expect(variables.capture(2).map { String(buffer: $0) } == "cart")
        #expect(variables.value("id").map { String(buffer: $0) } == "42")
        #expect(variables.capture(3) == nil)
    }

    @Test func segmentsEndAtASlash() throws {
        let table = try LocationTable([
            LocationModel(match: .segments("/a")), LocationModel(match: .segments("/a/b/")),
            LocationModel(match: .segments("/")),
        ])
        let expected = [
            "/a": "0", "/a/": "0", "/a/x": "0", "/ab": "2", "/a/b": "0", "/a/b/": "1", "/a/b/c": "1", "/": "2",
        ]
        for (path, index) in expected { #expect(self.find(path, in: table) == index, "\(path)") }
    }

    @Test func passesOverWhereConditionsDoNotHold() throws {
        func location(_ match: LocationModel.Match, _ conditions: RouteCondition...) -> LocationModel {
            var location = LocationModel(match: match)
            location.conditions = conditions
            return location
        }
        let table = try LocationTable([
            location(.prefix("/", isFinal: false)),
            location(.segments("/a")),
            location(.segments("/a"), .methods(["POST", "PUT"])),
            location(.segments("/a"), .methods(["POST"]), .header(name: "X-Version", value: "2")),
            location(.exact("/a/b"), .header(name: "Origin", value: nil)),
            location(.regex("^/r"), .headerRegex(name: "x-version", regex: "^[3-9]$")),
        ])
        func head(_ method: String, _ fields: (String, String)...) -> RequestHead {
            var block = FieldBlock()
            block.append(name: method.utf8, value: "".utf8, known: .other)
            let name = block.fields[0].name
            block.fields = []
            for (name, value) in fields {
                block.append(name: name.utf8, value: value.utf8, known: KnownField(Array(name.utf8).span))
            }
            return RequestHead(block: block, methodName: name)
        }
        #expect(self.find("/a/x", in: table, head: head("GET")) == "1")
        #expect(self.find("/a/x", in: table, head: head("PUT")) == "2")
        #expect(self.find("/a/x", in: table, head: head("POST", ("x-VERSION", "1"), ("x-version", "2"))) == "3")
        #expect(self.find("/a/x", in: table, head: head("POST", ("x-version", "22"))) == "2")
        #expect(self.find("/a/b", in: table, head: head("GET", ("Origin", "x"))) == "4")
        #expect(self.find("/a/b", in: table, head: head("GET")) == "1")
        #expect(self.find("/r", in: table, head: head("GET", ("X-Version", "4"))) == "5")
        #expect(self.find("/r", in: table, head: head("GET", ("X-Version", "2"))) == "0")
    }

    @Test func findsNamedLocations() throws {
        let table = try LocationTable([
            LocationModel(match: .prefix("/", isFinal: false)), LocationModel(match: .named("down")),
        ])
        #expect(table.named("down".utf8) == 1)
        #expect(table.named("up".utf8) == nil)
        #expect(self.find("@down", in: table) == nil)
    }

    @Test func refusesWhatCannotBeReached() {
        let twice = [LocationModel(match: .exact("/a")), LocationModel(match: .exact("/a"))]
        #expect(throws: LocationProblem.duplicate("= /a")) { try LocationTable(twice) }
        let final = [
            LocationModel(match: .prefix("/a", isFinal: true)), LocationModel(match: .prefix("/a", isFinal: false)),
        ]
        #expect(throws: LocationProblem.duplicate("/a")) { try LocationTable(final) }
        let named = [LocationModel(match: .named("a")), LocationModel(match: .named("a"))]
        #expect(throws: LocationProblem.duplicate("@a")) { try LocationTable(named) }
        #expect(throws: LocationProblem.self) { try LocationTable([LocationModel(match: .regex("("))]) }
    }

    @Test func escapesTheSlashRedirect() throws {
        var model = LocationModel(match: .prefix("/a b/", isFinal: false))
        model.action = .proxy(ProxyTarget(scheme: .http, destination: .upstream("b"), host: "b"))
        let table = try LocationTable([model])
        #expect(String(buffer: table.slashRedirect(to: 0, args: ByteBuffer(string: "x=%20"))) == "/a%20b/?x=%20")
    }
}
