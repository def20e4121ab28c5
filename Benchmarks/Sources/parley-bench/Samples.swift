import Foundation

/// The durations of many operations, and what they say.
struct Samples {
    private(set) var durations: [Duration] = []

    mutating func add(_ duration: Duration) { self.durations.append(duration) }

    mutating func add(_ others: Samples) { self.durations += others.durations }

    func quantile(_ share: Double) -> Duration {
        let sorted = self.durations.sorted()
        guard !sorted.isEmpty else { return .zero }
        return sorted[min(sorted.count - 1, Int(Double(sorted.count) * share))]
    }
}

extension Duration {
    var seconds: Double { Double(self.components.seconds) + Double(self.components.attoseconds) / 1e18 }
    var milliseconds: String { String(format: "%.2f", self.seconds * 1_000) }
}

/// One line of the result.
struct Row {
    var name: String
    var perSecond: Double
    var p50: Duration
    var p99: Duration
    /// Against the disk's own syncs in the same run: what group commit wins, or what the layers cost.
    var syncs: Double

    static let header = ["benchmark", "per second", "p50 ms", "p99 ms", "x disk syncs"]

    var columns: [String] {
        [
            self.name, String(format: "%.0f", self.perSecond), self.p50.milliseconds, self.p99.milliseconds,
            String(format: "%.2f", self.perSecond / self.syncs),
        ]
    }
}

func printTable(_ rows: [[String]]) {
    let widths = rows[0].indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
    for row in rows {
        let cells = row.indices.map { column in
            let pad = String(repeating: " ", count: widths[column] - row[column].count)
            return column == 0 ? row[column] + pad : pad + row[column]
        }
        print(cells.joined(separator: "  "))
    }
}
