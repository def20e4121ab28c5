import Foundation
import HTTPTestSupport
import NIOCore
import ParleyCore
import ParleyDiscovery
import ParleyTestKit
import ProcessTestSupport
import Synchronization
import Testing

@testable import ParleyRegistry

/// The first probe of each check comes as late as it may.
struct LateChance: RandomSource {
    func next() -> UInt64 { .max }
}

/// One request and what Consul said to it.
struct Exchange: Sendable, CustomStringConvertible {
    var method: String
    var path: String
    var body: String?
    var status = 0
    var headers: [(String, String)] = []
    var answer = Answer.anything

    enum Answer: Sendable {
        case anything
        case text(String)
        case prefix(String)
        case json(JSONValue)
    }

    var description: String { "\(self.method) \(self.path) \(self.body ?? "")" }

    static func all() throws -> [Exchange] {
        let place = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appendingPathComponent("Fixtures/consul-1.10.txt")
        var all: [Exchange] = []
        for line in try String(contentsOf: place, encoding: .utf8).split(separator: "\n") {
            let rest = String(line.dropFirst(2))
            switch (line.first, all.last) {
            case (">", .some(let last)) where last.status == 0: all[all.count - 1].body = rest
            case (">", _):
                let words = rest.split(separator: " ", maxSplits: 1).map(String.init)
                all.append(Exchange(method: words[0], path: words[1]))
            case ("<", .some(let last)):
                if last.status == 0 {
                    all[all.count - 1].status = try #require(Int(rest))
                } else {
                    let parts = rest.split(separator: ":", maxSplits: 1)
                    all[all.count - 1].headers.append((String(parts[0]), String(parts[1].dropFirst())))
                }
            case ("=", .some): all[all.count - 1].answer = .text(try Self.text(rest))
            case ("^", .some): all[all.count - 1].answer = .prefix(try Self.text(rest))
            case ("j", .some): all[all.count - 1].answer = .json(try JSONReader.read(Array(rest.utf8)))
            default: continue
            }
        }
        return all
    }

    private static func text(_ quoted: String) throws -> String {
        try #require(try JSONReader.read(Array(quoted.utf8)).string)
    }
}

/// What Consul 1.10.0 answered, request by request, over a socket.
@Suite(.timeLimit(.minutes(2))) struct GoldenTests {
    /// Names of members whose values are this machine's own.
    private static let own: Set<String> = ["CreateIndex", "ModifyIndex", "ContentHash"]

    /// `nil` when they are the same, else where they differ.
    private static func difference(_ ours: JSONValue, _ wanted: JSONValue, at place: String = "") -> String? {
        switch (ours, wanted) {
        case (.object(let members), .object(let wantedMembers)):
            let (names, wantedNames) = (Set(members.map(\.key)), Set(wantedMembers.map(\.key)))
            guard names == wantedNames else {
                return "\(place): more \(names.subtracting(wantedNames)), less \(wantedNames.subtracting(names))"
            }
            let isNode =
                wantedNames.contains("NodeMeta") || wantedNames.contains("Address") && wantedNames.contains("Node")
            for member in wantedMembers {
                if self.own.contains(member.key) || isNode && member.key == "ID" { continue }
                let found = ours[member.key].flatMap {
                    self.difference($0, member.value, at: "\(place).\(member.key)")
                }
                if let found { return found }
            }
            return nil
        case (.array(let elements), .array(let wantedElements)):
            guard elements.count == wantedElements.count else {
                return "\(place): \(elements.count) elements instead of \(wantedElements.count)"
            }
            for (index, (element, wanted)) in zip(elements, wantedElements).enumerated() {
                if let found = self.difference(element, wanted, at: "\(place)[\(index)]") { return found }
            }
            return nil
        default: return ours == wanted ? nil : "\(place): \(ours) instead of \(wanted)"
        }
    }

    @Test func weAnswerAsConsulDoes() async throws {
        let exchanges = try Exchange.all()
        #expect(exchanges.count == 96)
        try await RawServer.with(.hang) { target, _ in
            // No check is made before the time is moved.
            let clock = ManualClock()
            try await withRegistry(time: clock, random: LateChance()) { running in
                for exchange in exchanges {
                    let path = exchange.path.replacingOccurrences(of: " ", with: "%20")
                    let body = exchange.body?.replacingOccurrences(of: "{tcp}", with: "\(target)")
                    if exchange.path == "/" {
                        try await self.root(running)
                        continue
                    }
                    if exchange.path == "/v1/health/service/web?tag=v1" {
                        // The real one had tried it by then, and had come to no other.
                        clock.advance(by: .seconds(1))
                        try #require(try await isEventually { try await running.status("tc") == "passing" })
                    }
                    let answer = try await running.send(exchange.method, path, body)
                    self.compare(answer, exchange, tcp: "\(target)")
                }
            }
        }
    }

    private func compare(_ answer: HTTPAnswer, _ exchange: Exchange, tcp: String) {
        #expect(answer.status == exchange.status, "\(exchange): \(answer.text)")
        for (name, value) in exchange.headers {
            let ours = answer.header(name) ?? "(none)"
            // "text/plain" with and without the character set.
            let isSame = name == "Content-Type" ? ours.hasPrefix(value.prefix { $0 != ";" }) : ours == value
            #expect(isSame, "\(exchange): \(name): \(ours) instead of \(value)")
        }
        switch exchange.answer {
        case .anything: break
        case .text(let text): #expect(answer.text == text, "\(exchange)")
        case .prefix(let text): #expect(answer.text.hasPrefix(text), "\(exchange): \(answer.text)")
        case .json(let wanted):
            let text = answer.text.replacingOccurrences(of: tcp, with: "{tcp}")
            let ours = try? JSONReader.read(Array(text.utf8))
            let difference = ours.map { Self.difference($0, wanted) } ?? "no JSON: \(text)"
            #expect(difference == nil, "\(exchange)")
        }
    }

    /// A client would follow it.
    private func root(_ running: Running) async throws {
        try await RawConnection.with(running.endpoint) { connection in
            try await connection.send("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            let answer = await connection.readToEnd()
            #expect(answer.hasPrefix("HTTP/1.1 301 "))
            #expect(answer.hasSuffix("<a href=\"/ui/\">Moved Permanently</a>.\n\n"))
        }
    }
}

/// What the recorded session does not hold.
@Suite(.timeLimit(.minutes(2))) struct AnswerTests {
    @Test func addressesThatAreNoneAreRefused() async throws {
        try await withRegistry { running in
            for address in ["0.0.0.0", "::", "0:0::0"] {
                let body = #"{"Name": "a", "Address": "\#(address)"}"#
                let answer = try await running.send("PUT", "/v1/agent/service/register", body)
                #expect(answer.status == 400)
                #expect(answer.text == "Invalid service address")
            }
        }
    }

    @Test func prettyIsIndentedByFour() async throws {
        try await withRegistry { running in
            let answer = try await running.send("GET", "/v1/status/peers?pretty")
            #expect(answer.text == "[\n    \"127.0.0.1:8300\"\n]\n")
            #expect(try await running.send("GET", "/v1/catalog/datacenters?pretty").text == "[\n    \"dc1\"\n]\n")
            #expect(try await running.send("GET", "/v1/status/leader").text == #""127.0.0.1:8300""#)
        }
    }

    @Test func aBodyThatIsTooLongIsRefusedAndTheServerGoesOn() async throws {
        try await withRegistry({ $0.limits.maximumBodyBytes = 1_000 }) { running in
            let value = String(repeating: "x", count: running.registry.configuration.limits.maximumValueBytes)
            try await running.put("/v1/kv/k", value)
            #expect(try await running.send("PUT", "/v1/kv/k", value + "y").status == 413)
            #expect(try await running.send("GET", "/v1/kv/k?raw").body.count == value.utf8.count)
            let body = #"{"Name": ""# + String(repeating: "x", count: 1_000)
            #expect(try await running.send("PUT", "/v1/agent/service/register", body).status == 413)
            _ = try await running.get("/v1/agent/services")
        }
    }

    @Test func aTokenIsAskedForWhereThereIsOne() async throws {
        try await withRegistry({ $0.token = "secret" }) { running in
            let path = "/v1/agent/services"
            let refused = try await running.send("GET", path)
            #expect(refused.status == 403)
            #expect(refused.text == "Permission denied")
            #expect(refused.header("X-Consul-Default-Acl-Policy") == "deny")
            for wrong in ["secre", "secret2", "SECRET", ""] {
                let answer = try await running.send("GET", path, headers: [("X-Consul-Token", wrong)])
                #expect(answer.status == 403)
            }
            for header in [("X-Consul-Token", "secret"), ("Authorization", "Bearer secret")] {
                #expect(try await running.send("GET", path, headers: [header]).status == 200)
            }
            #expect(try await running.send("GET", path + "?token=secret").status == 200)
            // An empty header is none.
            let empty = ("X-Consul-Token", "")
            #expect(try await running.send("GET", path + "?token=secret", headers: [empty]).status == 200)
            let bearer = ("Authorization", "Bearer secret")
            #expect(try await running.send("GET", path, headers: [empty, bearer]).status == 200)
            // A load balancer asks without one.
            #expect(try await running.send("GET", "/v1/status/leader").status == 200)
            let body = #"{"Name": "a"}"#
            #expect(try await running.send("PUT", "/v1/agent/service/register", body).status == 403)
        }
    }

    @Test func anEmptyTokenIsRefusedAndLocksNobodyOut() async throws {
        var configuration = RegistryConfiguration(port: 0)
        configuration.token = ""
        let error = try await #require(throws: RegistryError.self) {
            try await Registry(configuration, logger: testLogger)
        }
        #expect(error.code == .invalidConfiguration)
    }

    /// Two questions that are told apart by what a text holds have two answers.
    @Test func questionsThatLookAlikeHaveTheirOwnAnswers() {
        func content(_ text: String) -> String { QueryItems(text[...]).content }
        #expect(content("a=b%00c=d") != content("a=b&c=d"))
        #expect(content("a=1:1:xy") != content("a&1:1:xy"))
        #expect(content("a=b=c") != content("a%3Db=c"))
        #expect(content("tag=ab&tag=c") != content("tag=a&tag=bc"))
        #expect(content("tag=a&index=5&wait=1s") == content("index=6&tag=a"))
    }

    /// Taken with 200 and not done would be a check that says nothing about what was meant.
    @Test(arguments: [
        #""AliasNode": "another", "AliasService": "web""#, #""TCP": "web:1", "Interval": "1s", "TCPUseTLS": true"#,
        #""HTTP": "https://web", "Interval": "1s", "TLSServerName": "other""#,
    ])
    func whatIsNotDoneIsRefused(_ check: String) async throws {
        try await withRegistry { running in
            let body = #"{"Name": "web", "Check": {\#(check)}}"#
            #expect(try await running.send("PUT", "/v1/agent/service/register", body).status == 400)
            let answer = try await running.send("PUT", "/v1/agent/check/register", #"{"Name": "c", \#(check)}"#)
            #expect(answer.status == 400)
        }
    }

    @Test(arguments: ["CheckID", "Name", "Notes", "HTTP", "Body"])
    func textsOfACheckAreBounded(_ field: String) async throws {
        try await withRegistry({ $0.limits.maximumTextBytes = 100 }) { running in
            for (length, status) in [(100, 200), (101, 400)] {
                var fields = ["Name": "c", "HTTP": "http://x", "Interval": "10s"]
                fields[field] = String(repeating: "x", count: length)
                let members = fields.map { #""\#($0)": "\#($1)""# }.joined(separator: ", ")
                let body = #"{"Name": "web", "Check": {\#(members)}}"#
                let answer = try await running.send("PUT", "/v1/agent/service/register", body)
                #expect(answer.status == status)
            }
            let header = #"{"A": ["\#(String(repeating: "x", count: 60))", "\#(String(repeating: "x", count: 60))"]}"#
            let check = #"{"HTTP": "http://x", "Interval": "10s", "Header": \#(header)}"#
            let body = #"{"Name": "web", "Check": \#(check)}"#
            let answer = try await running.send("PUT", "/v1/agent/service/register", body)
            #expect(answer.status == 400)
        }
    }

    @Test func limitsAreSaid() async throws {
        try await withRegistry({
            $0.limits.maximumServices = 2
            $0.limits.maximumTextBytes = 100
            $0.limits.maximumTags = 1
            $0.limits.maximumChecksPerService = 1
        }) { running in
            let register = "/v1/agent/service/register"
            try await running.put(register, #"{"Name": "a"}"#)
            #expect(try await running.send("PUT", register, #"{"Name": "b"}"#).status == 507)
            let long = String(repeating: "x", count: 101)
            #expect(try await running.send("PUT", register, #"{"Name": "a", "ID": "\#(long)"}"#).status == 400)
            #expect(try await running.send("PUT", register, #"{"Name": "a", "Tags": ["1", "2"]}"#).status == 400)
            let checks = #"{"Name": "a", "Checks": [{"TTL": "1s"}, {"TTL": "1s"}]}"#
            #expect(try await running.send("PUT", register, checks).status == 400)
            #expect(try await running.send("GET", "/v1/health/service/\(long)").status == 414)
            try await running.put("/v1/agent/service/deregister/a")
            try await running.put(register, #"{"Name": "b"}"#)
        }
    }

    @Test func whatTheRegistrySaysAboutItselfStays() async throws {
        try await withRegistry { running in
            let own = [
                ("/v1/agent/service/register", #"{"Name": "consul"}"#, 400),
                ("/v1/agent/check/register", #"{"Name": "x", "CheckID": "serfHealth", "TTL": "1s"}"#, 400),
                ("/v1/agent/service/deregister/consul", "", 404), ("/v1/agent/check/deregister/serfHealth", "", 404),
                ("/v1/catalog/deregister", #"{"Node": "\#(local)"}"#, 200),
                ("/v1/catalog/deregister", #"{"Node": "\#(local)", "ServiceID": "consul"}"#, 200),
                ("/v1/catalog/deregister", #"{"Node": "\#(local)", "CheckID": "serfHealth"}"#, 200),
                (
                    "/v1/catalog/register",
                    #"{"Node": "\#(local)", "Address": "10.0.0.1", "Service": {"Service": "consul"}}"#, 400
                ),
            ]
            let before = try await running.send("GET", "/v1/health/service/consul")
            for (path, body, status) in own {
                let answer = try await running.send("PUT", path, body)
                #expect(answer.status == status, "\(path) \(body): \(answer.text)")
            }
            #expect(try await running.send("GET", "/v1/health/service/consul").body == before.body)
            // Another node may have such a service.
            try await running.put(
                "/v1/catalog/register",
                #"{"Node": "n", "Address": "10.0.0.1", "Service": {"Service": "consul"}}"#
            )
            #expect(try await running.get("/v1/health/service/consul").count == 2)
        }
    }

    @Test func keysAreListedFoldedAndRemoved() async throws {
        try await withRegistry { running in
            for key in ["a/1", "a/2", "a/b/1", "b"] { try await running.put("/v1/kv/\(key)", key) }
            #expect(try await running.send("GET", "/v1/kv/a/?keys").text == #"["a/1","a/2","a/b/1"]"#)
            #expect(try await running.send("GET", "/v1/kv/?keys&separator=/").text == #"["a/","b"]"#)
            #expect(
                try await running.send("GET", "/v1/kv/a/?recurse").json([Key].self).map(\.Key) == [
                    "a/1", "a/2", "a/b/1",
                ]
            )
            #expect(try await running.send("PUT", "/v1/kv/b?cas=1", "x").text == "false")
            #expect(try await running.send("PUT", "/v1/kv/b?flags=42", "x").text == "true")
            #expect(try await running.send("GET", "/v1/kv/b").json([Key].self).map(\.Flags) == [42])
            #expect(try await running.send("DELETE", "/v1/kv/a/?recurse").text == "true")
            #expect(try await running.send("GET", "/v1/kv/?keys").text == #"["b"]"#)
        }
    }

    private struct Key: Decodable {
        // swift-format-ignore: AlwaysUseLowerCamelCase
        var Key: String
        // swift-format-ignore: AlwaysUseLowerCamelCase
        var Flags: UInt64
    }

    @Test func aServiceIsWatchedByItsHash() async throws {
        try await withRegistry { running in
            try await running.put("/v1/agent/service/register", #"{"Name": "a", "Port": 1}"#)
            let first = try await running.send("GET", "/v1/agent/service/a")
            let hash = try #require(first.header("X-Consul-ContentHash"))
            async let second = running.send("GET", "/v1/agent/service/a?hash=\(hash)&wait=60s")
            #expect(try await isEventually { running.registry.engine.read { $0.watcherCount } == 1 })
            try await running.put("/v1/agent/service/register", #"{"Name": "a", "Port": 2}"#)
            let answer = try await second
            #expect(answer.header("X-Consul-ContentHash") != hash)
            #expect(try JSONReader.read(answer.body)["Port"] == .number("2"))
        }
    }

    @Test func anExternalServiceComesAndGoesWithItsNode() async throws {
        try await withRegistry { running in
            let body = """
                {"Node": "ext", "Address": "10.0.0.9", "NodeMeta": {"zone": "a"},
                 "Service": {"Service": "db", "Port": 5432},
                 "Checks": [{"CheckID": "c", "Name": "c", "Status": "passing", "ServiceID": "db"}]}
                """
            try await running.put("/v1/catalog/register", body)
            let index = running.registry.engine.read { $0.index }
            try await running.put("/v1/catalog/register", body)
            #expect(running.registry.engine.read { $0.index } == index)
            #expect(try await running.get("/v1/catalog/service/db?node-meta=zone:a").count == 1)
            #expect(try await running.get("/v1/catalog/service/db?node-meta=zone:b").count == 0)
            // It is not the agent's.
            #expect(try await running.get("/v1/agent/services") == .object([]))
            try await running.put(
                "/v1/catalog/register",
                body.replacingOccurrences(of: "passing", with: "critical")
            )
            #expect(try await running.get("/v1/health/service/db?passing").count == 0)
            #expect(try await running.send("PUT", "/v1/catalog/register", #"{"Node": "ext"}"#).status == 400)
            try await running.put("/v1/catalog/deregister", #"{"Node": "ext"}"#)
            #expect(try await running.get("/v1/health/service/db").count == 0)
            #expect(try await running.get("/v1/catalog/node/ext") == .null)
        }
    }
}

extension JSONValue {
    var count: Int? { if case .array(let elements) = self { elements.count } else { nil } }
}
