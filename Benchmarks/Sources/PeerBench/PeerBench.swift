import Foundation

/// What the comparisons with other clients have in common: each measurement is a process of its own, all are taken in
/// turn, medians count.
public enum PeerBench {
    public struct Failure: Error, CustomStringConvertible {
        public var description: String

        public init(_ description: String) { self.description = description }
    }

    /// Messages a second, and microseconds of processor time (user and system) a message.
    public struct Figure: Sendable {
        public var rate: Double
        public var cpu: Double

        public init(rate: Double, cpu: Double) {
            self.rate = rate
            self.cpu = cpu
        }
    }

    /// Runs `body` in this process and prints its figure, as the peers print theirs: "RATE CPU".
    public static func measure(_ count: Int, _ body: () async throws -> Void) async throws {
        let began = ContinuousClock.now
        let used = self.processor(self.ownUsage)
        try await body()
        let cpu = self.processor(self.ownUsage) - used
        let took = began.duration(to: .now)
        print(Double(count) / took.inSeconds, cpu * 1e6 / Double(count))
    }

    /// Runs another program; what it printed, how long it took, and the processor time that it used.
    public static func run(
        _ executable: String,
        _ arguments: [String]
    ) throws -> (text: String, seconds: Double, cpu: Double) {
        let process = Process()
        let output = Pipe()
        process.executableURL = URL(fileURLWithPath: executable)
        process.arguments = arguments
        process.standardOutput = output
        let used = self.processor(self.childrensUsage)
        let began = ContinuousClock.now
        try process.run()
        let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        guard process.terminationStatus == 0 else { throw Failure("\(executable) \(arguments) failed") }
        return (text, began.duration(to: .now).inSeconds, self.processor(self.childrensUsage) - used)
    }

    /// The figure that a peer has printed.
    public static func figure(of text: String) throws -> Figure {
        let numbers = text.split(whereSeparator: \.isWhitespace).compactMap { Double($0) }
        guard numbers.count == 2 else { throw Failure("no figures: \(text)") }
        return Figure(rate: numbers[0], cpu: numbers[1])
    }

    public static func median(_ figures: [Figure]) -> Figure {
        func middle(_ numbers: [Double]) -> Double { numbers.sorted()[numbers.count / 2] }
        return Figure(rate: middle(figures.map(\.rate)), cpu: middle(figures.map(\.cpu)))
    }

    /// - Parameter texts: How many of the first columns are words.
    public static func table(_ rows: [[String]], texts: Int) -> String {
        let widths = rows[0].indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
        return rows.map { row in
            row.indices.map { column in
                let pad = String(repeating: " ", count: widths[column] - row[column].count)
                return column < texts ? row[column] + pad : pad + row[column]
            }.joined(separator: "  ")
        }.joined(separator: "\n")
    }

    private static let ownUsage: Int32 = 0, childrensUsage: Int32 = -1

    private static func processor(_ whose: Int32) -> Double {
        var usage = rusage()
        getrusage(whose, &usage)
        let micros = usage.ru_utime.tv_usec + usage.ru_stime.tv_usec
        return Double(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) + Double(micros) / 1e6
    }
}

extension Duration {
    var inSeconds: Double { Double(self.components.seconds) + Double(self.components.attoseconds) / 1e18 }
}
