import Foundation
import NIOCore
import ParleyCore
import ParleyDiscovery
import Testing

@testable import ParleyRegistry

@Suite(.timeLimit(.minutes(2))) struct AnswerMakingTests {
    // MARK: How answers are written

    private struct Shapes: Codable, Equatable {
        var text = "a \"quoted\" \\ text/with\n\u{1}\u{7F}é🚀"
        var empty = ""
        var truth = true
        var numbers: [Int] = [0, -1, .max, .min]
        var large = UInt64.max
        var small: Int8 = -128
        var nothing: [String: String]?
        var something: Int? = 5
        var lists: [[String]] = [[], ["a"], ["b", "c"]]
        var dictionary = ["b": ["x": 1], "a": [:], "\"": ["é": 2]]
        var maybe: [String: String?] = ["x": nil, "y": "z"]
    }

    private struct Nothing: Encodable {}

    private static var health: ConsulHealthEntry {
        var node = ConsulNode(name: "n\"1", address: "10.0.0.1")
        node.meta = ["z": "1", "a": "2", "é": "3"]
        var service = ConsulService(id: "i1", service: "web")
        service.tags = ["v1", ""]
        service.taggedAddresses = ["lan": ConsulAddress(address: "::1", port: 80)]
        service.indexes = ConsulService.Indexes(create: 1, modify: .max)
        var check = ConsulCheck(node: "n1", checkID: "c1", status: "passing")
        check.output = "line\r\n\ttab\u{0}"
        return ConsulHealthEntry(node: node, service: service, checks: [check, check])
    }

    /// As Foundation writes it, but for the order of members.
    private func isFoundations(_ value: some Encodable) throws -> Bool {
        func sorted(_ value: JSONValue) -> JSONValue {
            switch value {
            case .array(let values): .array(values.map(sorted))
            case .object(let members):
                .object(members.map { .init($0.key, sorted($0.value)) }.sorted { $0.key < $1.key })
            default: value
            }
        }
        let own = try JSONReader.read(try AnswerEncoder.encode(value))
        let other = try JSONReader.read(Array(try JSONEncoder().encode(value)))
        return sorted(own) == sorted(other)
    }

    @Test func everyShapeIsAsFoundationWritesIt() throws {
        #expect(try self.isFoundations(Shapes()))
        #expect(try self.isFoundations([Self.health, Self.health]))
        #expect(try self.isFoundations(ConsulCatalogEntry(node: Self.health.node, service: Self.health.service)))
        var agents = Self.health.service
        agents.agent = ConsulService.AgentPart(datacenter: "dc1", contentHash: "00")
        #expect(try self.isFoundations(["i1": agents]))
        #expect(try self.isFoundations(ConsulKVEntry(key: "k")))
        #expect(try self.isFoundations(Nothing()))
        #expect(try self.isFoundations([Nothing(), Nothing()]))
        #expect(try self.isFoundations([ConsulHealthEntry]()))
        #expect(try self.isFoundations([String: Int]()))
        #expect(try self.isFoundations([[String: [String]]]()))
        let read = try JSONDecoder().decode(Shapes.self, from: Data(try AnswerEncoder.encode(Shapes())))
        #expect(read == Shapes())
    }

    @Test func whatIsNoObjectIsWrittenAlone() throws {
        #expect(try AnswerEncoder.encode(true) == Array("true".utf8))
        #expect(try AnswerEncoder.encode(7) == Array("7".utf8))
        #expect(try AnswerEncoder.encode("x") == Array(#""x""#.utf8))
        #expect(try AnswerEncoder.encode(String?.none) == Array("null".utf8))
        #expect(try AnswerEncoder.encode(CheckStatus.passing) == Array(#""passing""#.utf8))
    }

    /// Two dictionaries that are equal may have different orders.
    @Test func theSameAnswerHasTheSameBytes() throws {
        let names = (0..<200).map { "k\($0)" }
        var first: [String: Int] = [:]
        var second: [String: Int] = Dictionary(minimumCapacity: 5_000)
        for name in names { first[name] = 1 }
        for name in names.reversed() { second[name] = 1 }
        #expect(try AnswerEncoder.encode(first) == AnswerEncoder.encode(second))
    }

    private struct Nested: Encodable {
        enum Keys: CodingKey { case outer, inner }

        func encode(to encoder: any Encoder) throws {
            var container = encoder.container(keyedBy: Keys.self)
            var inner = container.nestedContainer(keyedBy: Keys.self, forKey: .outer)
            try inner.encode(1, forKey: .inner)
        }
    }

    @Test func whatItCannotWriteIsAnError() {
        #expect(throws: EncodingError.self) { try AnswerEncoder.encode(0.5) }
        #expect(throws: EncodingError.self) { try AnswerEncoder.encode([Double.nan]) }
        #expect(throws: EncodingError.self) { try AnswerEncoder.encode(Nested()) }
    }

    // MARK: How answers are shared

    @Test func anAnswerIsMadeOnce() async throws {
        let cache = AnswerCache()
        let made = Locked(0)
        let bytes = ByteBuffer(string: "answer")
        try await withThrowingTaskGroup(of: ByteBuffer?.self) { group in
            for _ in 0..<1_000 {
                group.addTask {
                    switch cache.find("a", version: 1) {
                    case .made(let bytes): return bytes
                    case .beingMade(let making): return await making.bytes(on: SystemTimeSource())
                    case .toBeMade(let making):
                        made.with { $0 += 1 }
                        await Task.yield()
                        cache.made(bytes, making)
                        return bytes
                    }
                }
            }
            for try await answer in group { #expect(answer == bytes) }
        }
        #expect(made.with { $0 } == 1)
    }

    @Test func anAnswerThatCannotBeMadeKeepsNobodyWaiting() async throws {
        let cache = AnswerCache()
        guard case .toBeMade(let first) = cache.find("a", version: 1),
            case .beingMade(let waiting) = cache.find("a", version: 1)
        else { throw Failure() }
        cache.failed(first)
        #expect(await waiting.bytes(on: SystemTimeSource()) == nil)
        guard case .toBeMade = cache.find("a", version: 1) else { throw Failure() }
    }

    /// An answer of an older state is for those who asked for it, and for nobody after.
    @Test func anAnswerThatComesTooLateIsNotKept() async throws {
        let cache = AnswerCache()
        guard case .toBeMade(let old) = cache.find("a", version: 1),
            case .beingMade(let waiting) = cache.find("a", version: 1),
            case .toBeMade(let new) = cache.find("a", version: 2)
        else { throw Failure() }
        cache.made(ByteBuffer(string: "old"), old)
        #expect(await waiting.bytes(on: SystemTimeSource()) == ByteBuffer(string: "old"))
        guard case .beingMade = cache.find("a", version: 2) else { throw Failure() }
        cache.made(ByteBuffer(string: "new"), new)
        guard case .made(let bytes) = cache.find("a", version: 2) else { throw Failure() }
        #expect(bytes == ByteBuffer(string: "new"))
    }

    @Test func theCacheIsBounded() throws {
        let cache = AnswerCache()
        for number in 0..<AnswerCache.maximumAnswers {
            guard case .toBeMade(let making) = cache.find("\(number)", version: 1) else { throw Failure() }
            cache.made(ByteBuffer(string: "x"), making)
        }
        guard case .toBeMade = cache.find("one more", version: 1), case .toBeMade = cache.find("0", version: 1) else {
            throw Failure()
        }
        // One that is too long is for those who wait for it only.
        guard case .toBeMade(let making) = cache.find("long", version: 2) else { throw Failure() }
        cache.made(ByteBuffer(repeating: 0, count: AnswerCache.maximumBytes + 1), making)
        guard case .toBeMade = cache.find("long", version: 2) else { throw Failure() }
    }

    private struct Failure: Error {}
}
