/// Lets two scenarios run at a time, or one alone: what depends on time must not wait for another's work.
actor Lanes {
    static let shared = Lanes()

    private static let capacity = 2
    private var free = Lanes.capacity
    private var waiting: [(wanted: Int, continuation: CheckedContinuation<Void, Never>)] = []

    func run<Value: Sendable>(alone: Bool, _ body: @Sendable () async throws -> Value) async throws -> Value {
        let wanted = alone ? Lanes.capacity : 1
        await self.enter(wanted)
        do {
            let value = try await body()
            self.leave(wanted)
            return value
        } catch {
            self.leave(wanted)
            throw error
        }
    }

    private func enter(_ wanted: Int) async {
        if self.waiting.isEmpty, self.free >= wanted {
            self.free -= wanted
            return
        }
        await withCheckedContinuation { self.waiting.append((wanted, $0)) }
    }

    private func leave(_ count: Int) {
        self.free += count
        while let next = self.waiting.first, self.free >= next.wanted {
            self.waiting.removeFirst()
            self.free -= next.wanted
            next.continuation.resume()
        }
    }
}
