public import ServiceLifecycle

/// Runs `services` in a group for the length of `body`, then shuts them down gracefully.
public func withRunning<Value>(
    _ services: any Service...,
    body: (ServiceGroup) async throws -> Value
) async throws -> Value {
    let group = ServiceGroup(services: services, logger: testLogger)
    return try await withThrowingTaskGroup(of: Void.self) { tasks in
        tasks.addTask { try await group.run() }
        do {
            let value = try await body(group)
            await group.triggerGracefulShutdown()
            try await tasks.waitForAll()
            return value
        } catch {
            tasks.cancelAll()
            throw error
        }
    }
}
