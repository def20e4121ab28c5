internal import ParleyCore

@testable internal import ParleyResilience

/// Where every test's clock begins.
let origin = SystemTimeSource().moment

func at(_ duration: Duration) -> Moment { origin.advanced(by: duration) }

/// Numbers that are the same for the same seed, with the questions that a model asks.
struct Lots {
    private let source: SeededRandomSource

    init(_ seed: UInt64) { self.source = SeededRandomSource(seed: seed) }

    func bits() -> UInt64 { self.source.next() }
    func unit() -> Double { self.source.unitInterval() }
    func below(_ limit: Int) -> Int { Int(self.source.next() % UInt64(max(1, limit))) }
    func happens(_ percent: Int) -> Bool { self.below(100) < percent }
    func one<Value>(of values: [Value]) -> Value { values[self.below(values.count)] }
}

func target(_ number: Int, weight: Int = 1) -> CallTarget {
    CallTarget(id: "i-\(number)", endpoint: Endpoint(host: "10.0.0.1", port: number), weight: weight)
}

/// Durations that a configuration file may hold by mistake.
let strangeDurations: [Duration] = [
    .zero, .seconds(-1), .seconds(Int64.max), .seconds(Int64.min), .nanoseconds(1), .seconds(1_000_000_000_000),
]

/// Whole numbers of the same kind.
let strangeNumbers = [0, -1, Int.min, Int.max, 1]
