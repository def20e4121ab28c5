import Foundation
import Testing

@testable import ParleyDiscovery

@Suite(.timeLimit(.minutes(1))) struct GoDurationTests {
    @Test(arguments: [
        ("10s", Duration.seconds(10)), ("1h30m", .seconds(5_400)), ("1.5s", .milliseconds(1_500)), ("0", .zero),
        ("250ms", .milliseconds(250)), ("-2m", .seconds(-120)), ("3us", .microseconds(3)), ("3µs", .microseconds(3)),
        ("7ns", .nanoseconds(7)), ("1h2m3.5s", .milliseconds(3_723_500)),
    ])
    func isRead(_ text: String, _ duration: Duration) throws {
        #expect(try GoDuration.parse(text) == duration)
    }

    @Test(arguments: [
        ("abc", #"time: invalid duration "abc""#), ("", #"time: invalid duration """#),
        ("10", #"time: missing unit in duration "10""#), ("10x", #"time: unknown unit "x" in duration "10x""#),
        ("1.2.3s", #"time: invalid duration "1.2.3s""#), ("-", #"time: invalid duration "-""#),
        ("99999999999h", #"time: invalid duration "99999999999h""#), (".s", #"time: invalid duration ".s""#),
    ])
    func refusesInGosWords(_ text: String, _ message: String) {
        #expect(throws: GoDuration.Fault(message: message)) { try GoDuration.parse(text) }
    }

    @Test(arguments: [
        (Duration.seconds(10), "10s"), (.seconds(5_400), "1h30m0s"), (.milliseconds(1_500), "1.5s"), (.zero, "0s"),
        (.milliseconds(250), "250ms"), (.seconds(90), "1m30s"), (.microseconds(1_500), "1.5ms"),
        (.nanoseconds(7), "7ns"),
        (.seconds(-120), "-2m0s"),
    ])
    func isWritten(_ duration: Duration, _ text: String) throws {
        #expect(GoDuration.text(duration) == text)
        #expect(try GoDuration.parse(text) == duration)
    }
}

@Suite(.timeLimit(.minutes(1))) struct ConsulRequestTests {
    private func service(_ text: String) throws -> ConsulServiceDefinition {
        try ConsulRequestReader.service(Array(text.utf8))
    }

    @Test func namesComeInAnyCaseAndWithUnderscores() throws {
        let read = try self.service(
            """
            {"name": "web", "id": "w1", "enable_tag_override": true, "PORT": 80,
             "tagged_addresses": {"wan": {"address": "198.18.0.1", "port": 443}},
             "check": {"http": "http://x", "interval": "10s", "deregister_critical_service_after": "90m",
                       "timeout": 1000000000}}
            """
        )
        var expected = ConsulServiceDefinition(name: "web", id: "w1")
        expected.enableTagOverride = true
        expected.port = 80
        expected.taggedAddresses = ["wan": ConsulAddress(address: "198.18.0.1", port: 443)]
        var check = ConsulCheckDefinition()
        check.http = "http://x"
        check.interval = .seconds(10)
        check.deregisterCriticalServiceAfter = .seconds(5_400)
        check.timeout = .seconds(1)
        expected.check = check
        #expect(read == expected)
    }

    @Test func nullIsNotGiven() throws {
        #expect(try self.service(#"{"Name": "a", "Tags": null, "Check": null, "Port": null}"#).port == 0)
    }

    @Test(arguments: [
        ("{", "unexpected EOF"), ("", "EOF"), (#"{"Name" 1}"#, "invalid character '1' after object key"),
        (#"{"Name": "a", "Port": "80"}"#, "json: cannot unmarshal string into Go struct field .Port of type int"),
        (#"{"Name": "a", "Unknown": 1}"#, #"json: unknown field "Unknown""#),
        (#"{"Name": "a", "Check": {"TTL": "abc"}}"#, #"time: invalid duration "abc""#),
        (#"{"Name": 1}"#, "json: cannot unmarshal number into Go struct field .Name of type string"),
        (#"[]"#, "json: cannot unmarshal array into Go value of type structs.ServiceDefinition"),
        (#"{"Name": "a", "Port": 1.5}"#, "json: cannot unmarshal number 1.5 into Go struct field .Port of type int"),
    ])
    func refusesInConsulsWords(_ body: String, _ message: String) {
        #expect(throws: ConsulRequestFault(message)) { try self.service(body) }
    }

    @Test func deepNestingIsRefusedAndDoesNoHarm() {
        let body = #"{"Name": "# + String(repeating: "[", count: 100_000)
        #expect(throws: ConsulRequestFault("exceeded max depth")) { try self.service(body) }
    }

    @Test func whatAClientWritesIsReadAsItWas() throws {
        var definition = ConsulServiceDefinition(name: "web", id: "w1")
        definition.tags = ["a", "b"]
        definition.meta = ["x": "ä\"\\\n"]
        definition.weights = ConsulWeights(passing: 3, warning: 0)
        var check = ConsulCheckDefinition()
        check.ttl = .milliseconds(1_500)
        check.status = "passing"
        check.header = ["X": ["1", "2"]]
        definition.checks = [check]
        let bytes = try JSONEncoder().encode(definition)
        #expect(try ConsulRequestReader.service(Array(bytes)) == definition)
        #expect(try JSONDecoder().decode(ConsulServiceDefinition.self, from: bytes) == definition)
    }

    @Test func answersAreReadAsTheyWere() throws {
        var node = ConsulNode(name: "n", address: "10.0.0.1")
        node.taggedAddresses = ["lan": "10.0.0.1"]
        var service = ConsulService(id: "w1", service: "web")
        service.port = 80
        service.indexes = ConsulService.Indexes(create: 3, modify: 4)
        var check = ConsulCheck(node: "n", checkID: "c", status: "warning")
        check.modifyIndex = 9
        let health = ConsulHealthEntry(node: node, service: service, checks: [check])
        #expect(try JSONDecoder().decode(ConsulHealthEntry.self, from: JSONEncoder().encode(health)) == health)
        let entry = ConsulCatalogEntry(node: node, service: service)
        let read = try JSONDecoder().decode(ConsulCatalogEntry.self, from: JSONEncoder().encode(entry))
        #expect(read == entry)
        service.indexes = nil
        service.agent = ConsulService.AgentPart(datacenter: "dc1", contentHash: "abc")
        #expect(try JSONDecoder().decode(ConsulService.self, from: JSONEncoder().encode(service)) == service)
    }
}

@Suite(.timeLimit(.minutes(1))) struct JSONValueTests {
    @Test func isWrittenAsItWasRead() throws {
        let text = #"{"a":[1,-2.5e3,"x\"\\\n\u0001",null,true],"b":{},"c":[]}"#
        var bytes: [UInt8] = []
        try JSONReader.read(Array(text.utf8)).write(into: &bytes)
        #expect(String(decoding: bytes, as: UTF8.self) == text)
    }

    @Test func isIndentedAsConsulDoes() throws {
        var bytes: [UInt8] = []
        try JSONReader.read(Array(#"["127.0.0.1:8310"]"#.utf8)).write(indent: 4, into: &bytes)
        #expect(String(decoding: bytes, as: UTF8.self) == "[\n    \"127.0.0.1:8310\"\n]")
    }

    @Test func surrogatesAreOneCharacter() throws {
        #expect(try JSONReader.read(Array(#""\ud83d\ude00 \ud83d""#.utf8)) == .string("😀 \u{FFFD}"))
    }

    /// Bytes from outside end in a value or an error, never in a trap.
    @Test func garbageDoesNoHarm() {
        var generator = SplitMix(state: 7)
        let alphabet = Array(#"{}[]",:\untruefalse0123456789eE+-. "#.utf8) + [0, 255, 0xC3]
        for _ in 0..<20_000 {
            let length = Int(generator.next() % 24)
            let bytes = (0..<length).map { _ in alphabet[Int(generator.next() % UInt64(alphabet.count))] }
            _ = try? JSONReader.read(bytes)
            _ = try? ConsulRequestReader.service(bytes)
            _ = try? ConsulRequestReader.catalogRegistration(bytes)
        }
    }

    private struct SplitMix {
        var state: UInt64

        mutating func next() -> UInt64 {
            self.state &+= 0x9E37_79B9_7F4A_7C15
            var mixed = self.state
            mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
            mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
            return mixed ^ (mixed >> 31)
        }
    }
}
