internal import Logging
internal import ParleyCore
public import ParleySagas

extension SQLiteSagaStore: SagaFeed {
    /// See `SagaFeed`. The history's own numbers are the order: one process at a time writes to the file, and what a
    /// look at it sees is everything up to a commit. A saga that cannot be read is logged and passed over.
    public func changes(after position: String?, including ids: [String], limit: Int) async throws -> SagaChanges {
        let limit = min(1_000, max(1, limit))
        let (changes, corrupt) = try await self.core.read { connection -> (SagaChanges, [any Error]) in
            let start = try position.flatMap(FeedPosition.init).flatMap { try $0.isKnown(connection) ? $0 : nil }
            let lines = try connection.rows(
                "SELECT seq, saga, version FROM parley_saga_event WHERE seq > ? ORDER BY seq LIMIT ?",
                [.integer(start?.number ?? 0), .integer(limit)]
            ) { FeedPosition(number: $0.integer(0), saga: $0.text(1), version: $0.integer(2)) }
            var changes = SagaChanges(
                instances: [],
                position: (lines.last ?? start)?.description,
                isEnd: lines.count < limit
            )
            var corrupt: [any Error] = []
            var seen: Set<String> = []
            for id in ids + lines.map(\.saga) where seen.insert(id).inserted {
                let row = try connection.first(
                    "SELECT \(SagaRow.columns) FROM parley_saga WHERE id = ?",
                    [.text(id)],
                    { $0.values }
                )
                guard let row else { continue }
                do {
                    changes.instances.append(try SagaRow.read(row, path: connection.path))
                } catch {
                    corrupt.append(error)
                }
            }
            return (changes, corrupt)
        }
        for error in corrupt {
            self.core.logger.error("A saga that has changed cannot be read", metadata: ["error": "\(error)"])
        }
        return changes
    }
}

/// A line of the history. Its saga and version tell it from the line of the same number in another file.
private struct FeedPosition: CustomStringConvertible {
    let number: Int64
    let saga: String
    let version: Int64

    init(number: Int64, saga: String, version: Int64) {
        self.number = number
        self.saga = saga
        self.version = version
    }

    init?(_ text: String) {
        let parts = text.split(separator: ":", maxSplits: 2)
        guard parts.count == 3, let number = Int64(parts[0]), let version = Int64(parts[1]) else { return nil }
        self.init(number: number, saga: String(parts[2]), version: version)
    }

    var description: String { "\(self.number):\(self.version):\(self.saga)" }

    func isKnown(_ connection: SQLConnection) throws -> Bool {
        try connection.first(
            "SELECT 1 FROM parley_saga_event WHERE seq = ? AND saga = ? AND version = ?",
            [.integer(self.number), .text(self.saga), .integer(self.version)],
            { _ in true }
        ) ?? false
    }
}
