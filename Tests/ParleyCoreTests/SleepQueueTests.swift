import Testing

@testable import ParleyCore

@Suite(.timeLimit(.minutes(2))) struct SleepQueueTests {
    private let time = SystemTimeSource()

    @Test(arguments: [Duration.nanoseconds(1), .milliseconds(1), .milliseconds(60)])
    func nobodyIsWokenTooEarly(_ duration: Duration) async throws {
        let queue = SleepQueue()
        let end = self.time.now.advanced(by: duration)
        try await queue.sleep(until: end)
        #expect(self.time.now >= end)
        #expect(queue.count == 0)
    }

    @Test func whatHasPassedIsNotWaitedFor() async throws {
        let queue = SleepQueue()
        try await queue.sleep(until: self.time.now.advanced(by: .seconds(-3_600)))
        #expect(queue.count == 0)
    }

    @Test func aSoonerEndDoesNotWaitForALaterOne() async throws {
        let queue = SleepQueue()
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await queue.sleep(until: self.time.now.advanced(by: .seconds(3_600))) }
            while queue.count == 0 { await Task.yield() }
            try await queue.sleep(until: self.time.now.advanced(by: .milliseconds(20)))
            group.cancelAll()
            let result = await group.nextResult()
            #expect(throws: CancellationError.self) { try result?.get() }
        }
    }

    @Test func whoIsCancelledBeforeDoesNotSleep() async throws {
        let queue = SleepQueue()
        await withThrowingTaskGroup(of: Void.self) { group in
            group.cancelAll()
            group.addTask { try await queue.sleep(until: self.time.now.advanced(by: .seconds(3_600))) }
            let result = await group.nextResult()
            #expect(throws: CancellationError.self) { try result?.get() }
        }
        #expect(queue.count == 0)
    }

    @Test func allAreWokenInTheirTime() async throws {
        let queue = SleepQueue()
        let inTime = try await withThrowingTaskGroup(of: Bool.self) { group in
            for number in 0..<2_000 {
                group.addTask {
                    let end = self.time.now.advanced(by: .microseconds((number * 7_919) % 100_000))
                    try await queue.sleep(until: end)
                    return self.time.now >= end
                }
            }
            return try await group.reduce(0) { $0 + ($1 ? 1 : 0) }
        }
        #expect(inTime == 2_000)
        #expect(queue.count == 0)
    }

    /// A server with long time limits and short answers.
    @Test func aHundredThousandCancelledLeaveNothing() async throws {
        let queue = SleepQueue()
        for _ in 0..<1_000 {
            await withTaskGroup(of: Void.self) { group in
                for _ in 0..<100 {
                    group.addTask { try? await queue.sleep(until: self.time.now.advanced(by: .seconds(600))) }
                }
                group.cancelAll()
            }
            #expect(queue.count <= SleepQueue.fewCancelled + 200)
        }
        #expect(queue.count <= SleepQueue.fewCancelled)
    }

    /// The same, cancelled while they sleep; those who are not stay.
    @Test func sleepersStayWhenOthersAreCancelled() async throws {
        let queue = SleepQueue()
        try await withThrowingDiscardingTaskGroup { group in
            for _ in 0..<100 {
                // One that were cancelled would throw; one that were forgotten would never end.
                group.addTask { try await queue.sleep(until: self.time.now.advanced(by: .milliseconds(300))) }
            }
            for _ in 0..<20 {
                await withTaskGroup(of: Void.self) { cancelled in
                    let before = queue.count
                    for _ in 0..<100 {
                        cancelled.addTask {
                            try? await queue.sleep(until: self.time.now.advanced(by: .seconds(600)))
                        }
                    }
                    while queue.count < before + 50 { await Task.yield() }
                    cancelled.cancelAll()
                }
            }
        }
        #expect(queue.count <= SleepQueue.fewCancelled)
    }
}
