internal import GRPCCore
internal import ParleyCore

extension RequestContextFields {
    func write(_ context: RequestContext, now: ContinuousClock.Instant, to metadata: inout Metadata) {
        var timeless = context
        timeless.deadline = nil
        self.write(timeless, now: now) { metadata.replaceOrAddString($1, forKey: $0) }
    }

    func read(
        _ metadata: Metadata,
        now: ContinuousClock.Instant,
        orElse requestID: @autoclosure () -> String
    ) -> RequestContext {
        var context = self.read(now: now, orElse: requestID()) { name in
            metadata[stringValues: name].first { _ in true }
        }
        let timeout = metadata[stringValues: "grpc-timeout"].first { _ in true }.flatMap(GRPCTimeout.duration)
        if let timeout {
            let deadline = Deadline(now.advanced(by: min(timeout, Self.longestTimeout)))
            context.deadline = min(deadline, context.deadline ?? deadline)
        }
        return context
    }
}

/// The value of `grpc-timeout`.
package enum GRPCTimeout {
    /// At most eight digits and a unit, as gRPC over HTTP/2 defines it. Anything else is no timeout.
    package static func duration(_ text: String) -> Duration? {
        guard (2...9).contains(text.utf8.count), let unit = text.last, let count = UInt32(text.dropLast()) else {
            return nil
        }
        switch unit {
        case "H": return .seconds(Int64(count) * 3_600)
        case "M": return .seconds(Int64(count) * 60)
        case "S": return .seconds(Int64(count))
        case "m": return .milliseconds(Int64(count))
        case "u": return .microseconds(Int64(count))
        case "n": return .nanoseconds(Int64(count))
        default: return nil
        }
    }
}
