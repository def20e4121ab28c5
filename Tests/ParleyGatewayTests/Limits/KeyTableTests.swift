internal import ParleyCore
internal import Testing

@testable internal import ParleyGateway

@Suite struct KeyTableTests {
    /// Against a list in the order of use. Few homes for many keys, so that chains form, wrap round and are closed.
    @Test(arguments: [1, 2, 3, 4, 5, 6] as [UInt64])
    func isABoundedListInTheOrderOfUse(seed: UInt64) {
        let chance = SeededRandomSource(seed: seed)
        let capacity = [1, 2, 7, 40, 100, 300][Int(seed) - 1]
        var table = KeyTable<Int>(capacity: capacity)
        var model: [(key: LimitKey, value: Int, slot: Int)] = []
        for step in 0..<8_000 {
            let number = chance.next() % UInt64(capacity * 2)
            // The last five homes of the smallest index, and the first: chains cross its end.
            let key = LimitKey(low: (number % 6) &+ 11 | (number % 3) << 40, high: number, byteCount: 1)
            let place = model.firstIndex { $0.key == key }
            #expect(table.find(key) == place.map { model[$0].slot })
            switch (chance.next() % 4, place) {
            case (0, .some(let place)):
                table.remove(model[place].slot)
                model.remove(at: place)
            case (1, .some(let place)):
                table[model[place].slot] = step
                model[place].value = step
            case (_, .some(let place)):
                table.touch(model[place].slot)
                model.insert(model.remove(at: place), at: 0)
            case (_, .none):
                let slot = table.insert(key, step)
                #expect((slot == nil) == (model.count == capacity))
                if let slot { model.insert((key, step, slot), at: 0) }
            }
            #expect(table.count == model.count)
            #expect(table.oldest == model.last?.slot)
            for entry in model where table[entry.slot] != entry.value { Issue.record("\(entry) has another value") }
        }
        while let last = model.popLast() {
            #expect(table.oldest == last.slot)
            table.remove(last.slot)
        }
        #expect(table.oldest == nil)
    }
}
