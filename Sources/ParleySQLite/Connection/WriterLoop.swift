internal import GRDB
internal import ParleyCore

/// What the writer's thread does between opening and closing the file.
final class WriterLoop {
    private let pool: DatabasePool
    private let path: String
    private let configuration: SQLiteConfiguration
    private let lock: ProcessLock
    private let bells: Bells
    private let doorbell: Doorbell?
    private let checkpointer: Checkpointer

    init(
        pool: DatabasePool,
        path: String,
        configuration: SQLiteConfiguration,
        lock: consuming ProcessLock,
        bells: Bells,
        doorbell: Doorbell?,
        checkpointer: Checkpointer
    ) {
        self.pool = pool
        self.path = path
        self.configuration = configuration
        self.lock = lock
        self.bells = bells
        self.doorbell = doorbell
        self.checkpointer = checkpointer
    }

    /// Serves until the queue is closed and empty.
    func run(_ queue: WriteQueue) {
        // One access for the whole life: GRDB's queue is entered once, not for every group.
        self.pool.writeWithoutTransaction { database in
            guard let connection = try? SQLConnection(database, path: self.path) else {
                self.refuse(queue)
                return
            }
            self.checkpointer.observe(connection)
            self.serve(queue, connection)
            connection.finalizeStatements()
        }
        self.doorbell?.close()
        try? self.pool.close()
    }

    private func serve(_ queue: WriteQueue, _ connection: SQLConnection) {
        var batch: [any WriteJob] = []
        batch.reserveCapacity(self.configuration.maximumWritesPerCommit)
        while true {
            let ringAgain = self.doorbell?.nextRing
            switch queue.take(self.configuration.maximumWritesPerCommit, into: &batch, until: ringAgain) {
            case .closed: return
            case .timeout: self.doorbell?.ringPending()
            case .jobs:
                let rings = self.commit(&batch, connection)
                self.bells.ring(rings)
                self.doorbell?.ring(rings.channels)
                if self.doorbell?.hasPeers == true { self.checkpointer.warnOfSharing() }
                self.checkpointer.checkpointIfLong(connection, lock: self.lock)
            }
        }
    }

    private func refuse(_ queue: WriteQueue) {
        var batch: [any WriteJob] = []
        while case .jobs = queue.take(self.configuration.maximumWritesPerCommit, into: &batch, until: nil) {
            for job in batch { job.finish(SQLiteError(.closed, path: self.path, "the connection is closed")) }
            batch.removeAll()
        }
    }

    /// Runs all jobs in one commit and finishes each of them; says who is to be woken.
    private func commit(_ batch: inout [any WriteJob], _ connection: SQLConnection) -> Rings {
        defer { batch.removeAll(keepingCapacity: true) }
        guard self.lock.acquire(within: self.configuration.busyLimit) else {
            let busy = SQLiteError(
                .busy,
                path: self.path,
                "another process has held the write lock for \(self.configuration.busyLimit); find it, or raise "
                    + "busyLimit",
                retry: .notSent
            )
            for job in batch { job.finish(busy) }
            return Rings()
        }
        var done: [any WriteJob] = []
        done.reserveCapacity(batch.count)
        var refused: [Refused] = []
        var rings = Rings()
        // Again only when one job lost the transaction for all the others; that one is out then, so this ends.
        while done.isEmpty, !batch.isEmpty {
            do {
                try connection.database.beginTransaction(.immediate)
            } catch {
                self.lock.release()
                self.fail(batch, error)
                self.finish(refused)
                return Rings()
            }
            self.runAll(&batch, connection, &done, &refused, &rings)
        }
        if !done.isEmpty {
            do {
                try connection.database.commit()
            } catch {
                if !connection.isInAutocommit { try? connection.database.rollback() }
                self.lock.release()
                self.fail(done + refused.map(\.job), error)
                return Rings()
            }
        } else if !connection.isInAutocommit {
            try? connection.database.rollback()
        }
        self.lock.release()
        for job in done { job.finish(nil) }
        self.finish(refused)
        return rings
    }

    /// On return either the transaction is open and `done` has run in it, or it is over and `batch` has those that are
    /// to run again.
    private func runAll(
        _ batch: inout [any WriteJob],
        _ connection: SQLConnection,
        _ done: inout [any WriteJob],
        _ refused: inout [Refused],
        _ rings: inout Rings
    ) {
        let needsSavepoints = batch.count > 1
        for (index, job) in batch.enumerated() {
            let transaction = SQLiteTransaction(connection)
            var failure: (any Error)?
            do {
                if needsSavepoints { try connection.execute("SAVEPOINT parley") }
                defer { transaction.end() }
                try job.run(transaction)
            } catch {
                failure = SQLiteError.wrapping(error, path: self.path)
            }
            if failure == nil, connection.isInAutocommit {
                failure = transaction.lossReason
                if failure == nil {
                    // What the others have done may be stored by its COMMIT, so they cannot run again.
                    failure = self.endedByJob()
                    self.fail(done, self.endedByJob())
                    done.removeAll()
                }
            }
            do {
                if failure == nil {
                    if needsSavepoints { try connection.execute("RELEASE parley") }
                } else if !connection.isInAutocommit {
                    if needsSavepoints {
                        try connection.execute("ROLLBACK TO parley")
                        try connection.execute("RELEASE parley")
                    } else {
                        try connection.database.rollback()
                    }
                }
            } catch {
                // A savepoint that cannot be ended leaves the transaction in an unknown state: start over without this
                // job.
                failure = failure ?? SQLiteError.wrapping(error, path: self.path)
                if !connection.isInAutocommit { try? connection.database.rollback() }
            }
            guard let failure else {
                done.append(job)
                rings.formUnion(transaction.rings)
                continue
            }
            refused.append(Refused(job: job, failure: failure))
            if connection.isInAutocommit {
                batch = done + batch[(index + 1)...]
                done.removeAll()
                rings = Rings()
                return
            }
        }
        batch.removeAll()
    }

    /// A job that threw. It may have thrown because of what a job before it in the group wrote ("this exists already"),
    /// so its caller learns of it when that is stored, and not before.
    private struct Refused {
        let job: any WriteJob
        let failure: any Error
    }

    private func finish(_ refused: [Refused]) {
        for refusal in refused { refusal.job.finish(refusal.failure) }
    }

    /// A closure got a COMMIT past the check.
    private func endedByJob() -> SQLiteError {
        SQLiteError(
            .statement,
            path: self.path,
            "a closure ended the transaction by itself; return to commit, throw to roll back",
            retry: .mayHaveRun
        )
    }

    private func fail(_ batch: [any WriteJob], _ error: any Error) {
        let error = SQLiteError.wrapping(error, path: self.path)
        for job in batch { job.finish(error) }
    }
}
