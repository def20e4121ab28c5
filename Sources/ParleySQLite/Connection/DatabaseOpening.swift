internal import GRDB
internal import ParleyCore

/// Opens the file, or says why not, without changing a file that is not ours.
struct DatabaseOpening {
    let path: String
    let configuration: SQLiteConfiguration
    let busyBudget: BusyBudget

    /// "Parl": what `file` and other programs see in the header.
    static let applicationID: Int64 = 0x5061_726C

    func open() throws -> (pool: DatabasePool, path: String) {
        let file = try FileChecks.check(self.path)
        if file.hasContent { try self.refuseForeign(file.path) }
        let pool = try self.retryingWhileBusy(file.path) {
            try DatabasePool(path: file.path, configuration: self.poolConfiguration())
        }
        do {
            try self.retryingWhileBusy(file.path) {
                try pool.writeWithoutTransaction { database in
                    let connection = try SQLConnection(database, path: file.path)
                    defer { connection.finalizeStatements() }
                    // After GRDB has set NORMAL on its own.
                    try connection.execute(
                        self.configuration.durability == .full
                            ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL"
                    )
                    try Schema.migrate(connection)
                }
            }
        } catch {
            try? pool.close()
            throw error
        }
        return (pool, file.path)
    }

    /// Looks at the file through a connection that cannot write.
    private func refuseForeign(_ path: String) throws {
        var configuration = Configuration()
        configuration.readonly = true
        configuration.busyMode = .timeout(10)
        try self.retryingWhileBusy(path) {
            let probe = try DatabaseQueue(path: path, configuration: configuration)
            defer { try? probe.close() }
            try probe.read { database in
                let connection = try SQLConnection(database, path: path)
                defer { connection.finalizeStatements() }
                try Schema.check(connection)
            }
        }
    }

    private func poolConfiguration() -> Configuration {
        var configuration = Configuration()
        configuration.maximumReaderCount = self.configuration.maximumReaders
        configuration.label = "parley"
        let busyBudget = self.busyBudget
        configuration.busyMode = .callback { busyBudget.wait($0) }
        let logLimit = self.configuration.logAlarmBytes
        configuration.prepareDatabase { database in
            try database.execute(sql: "PRAGMA wal_autocheckpoint = 0")
            try database.execute(sql: "PRAGMA journal_size_limit = \(logLimit)")
            try database.execute(sql: "PRAGMA temp_store = MEMORY")
        }
        return configuration
    }

    /// Two processes that open a new file at the same time get in each other's way for a moment, also where SQLite does
    /// not ask its busy handler (the switch to WAL).
    private func retryingWhileBusy<Value>(_ path: String, _ body: () throws -> Value) throws -> Value {
        var tries = 0
        while true {
            do {
                return try body()
            } catch {
                let wrapped = SQLiteError.wrapping(error, path: path)
                tries += 1
                guard (wrapped as? SQLiteError)?.code == .busy, tries <= self.busyBudget.normalLimit else {
                    throw wrapped
                }
                pauseThread(.milliseconds(1))
            }
        }
    }
}
