import Foundation
import ParleyCore
import Testing

@testable import ParleyGateway

private func record(_ id: String, _ microseconds: Int64 = 0, status: Int = 502, path: String = "/") -> ExchangeRecord {
    ExchangeRecord(
        id: id,
        time: Timestamp(microseconds: microseconds),
        method: "GET",
        host: "h",
        path: path,
        client: "c",
        status: status,
        flags: .connectFailed,
        why: "",
        durationMicroseconds: 1
    )
}

@Suite struct RecordStoreTests {
    @Test func recordsOfAllShardsAreFoundNewestFirst() {
        let store = RecordStore(shards: 3)
        for number in 0..<9 { store.add(record("id\(number)", Int64(number)), shard: number) }
        #expect(store.record(id: "id4")?.time.microseconds == 4)
        #expect(store.record(id: "other") == nil)
        #expect(store.last(3).map(\.id) == ["id8", "id7", "id6"])
        #expect(store.last(-1).isEmpty)
        #expect(store.added == 9)
        store.add(record("negative"), shard: -1)
        #expect(store.record(id: "negative") != nil)
    }

    @Test func theNewestOfOneIdIsFound() {
        let store = RecordStore(shards: 2)
        store.add(record("same", 5, status: 404), shard: 0)
        store.add(record("same", 9), shard: 1)
        store.add(record("same", 7), shard: 0)
        #expect(store.record(id: "same")?.time.microseconds == 9)
    }

    @Test func refusedRequestsDoNotWashFailuresAway() {
        let store = RecordStore(limits: .init(records: 20, bytes: 1 << 20))
        store.add(record("failure"))
        for number in 0..<100 { store.add(record("refused\(number)", status: 429)) }
        #expect(store.record(id: "failure") != nil)
        #expect(store.last(1_000).count == 11)
    }

    @Test func textsOfPeersAreCut() {
        let store = RecordStore()
        store.add(record("long", path: "/" + String(repeating: "ä", count: 5_000)))
        let path = store.record(id: "long")?.path ?? ""
        #expect(path.utf8.count <= ExchangeRecord.maxTextBytes + 6)
        var many = record("many")
        many.attempts = (0..<40).map { .init(instance: "\($0)", method: "", phase: .connect, outcome: .lost) }
        store.add(many)
        #expect(store.record(id: "many")?.attempts.map(\.instance).suffix(2) == ["14", "39"])
    }

    @Test func jsonIsReadBack() throws {
        var record = record("json")
        record.attempts = [
            .init(instance: "a:1", method: "ewma", phase: .firstByte, timings: .init(write: 5), outcome: .readTimeout)
        ]
        record.limit = .init(kind: .requests, zone: "z", key: "k", limit: 1, current: 2)
        let data = try JSONEncoder().encode(record)
        #expect(try JSONDecoder().decode(ExchangeRecord.self, from: data) == record)
        #expect(String(decoding: data, as: UTF8.self).contains("\"flags\":\"UF\""))
    }

    /// Against a list that forgets its first ones.
    @Test(arguments: [1, 2, 7, 16])
    func theRingIsAListThatForgets(maxRecords: Int) {
        let random = SeededRandomSource(seed: UInt64(maxRecords))
        let maxBytes = 6_000
        var ring = Ring(maxRecords: maxRecords, maxBytes: maxBytes)
        var model: [ExchangeRecord] = []
        for number in 0..<2_000 {
            let size = Int(random.next() % 1_500) * (random.next() % 20 == 0 ? 8 : 1)
            let new = record("\(number)", path: String(repeating: "p", count: size))
            ring.add(new)
            if new.byteCount <= maxBytes {
                model.append(new)
                while model.count > maxRecords || model.reduce(0, { $0 + $1.byteCount }) > maxBytes {
                    model.removeFirst()
                }
            }
            #expect(ring.all.map(\.id) == model.map(\.id))
            #expect(ring.bytes == model.reduce(0) { $0 + $1.byteCount })
            #expect(ring.last { _ in true }?.id == model.last?.id)
        }
    }
}
