public import ParleyCore

extension ServiceClient {
    /// The limits of a client. Every wait has one.
    public struct Configuration: Sendable {
        /// Who calls: sent as `X-Service`.
        public var name: ServiceName
        /// How long a call may take with all its tries, when neither the caller nor the context has a deadline.
        public var timeout: Duration = .seconds(30)
        /// How long one try may take, from choosing an instance to the last byte of the answer.
        public var attemptTimeout: Duration = .seconds(10)
        /// How long opening a connection may take; also the wait for a free one of `maxConnectionsPerEndpoint`.
        public var connectTimeout: Duration = .seconds(2)
        /// How many tries a call has at most; 1 is none but the first.
        public var maxAttempts = 3
        /// The waits between tries.
        public var backoff = Backoff(initial: .milliseconds(50), cap: .seconds(2))
        /// The largest body of an answer, in bytes.
        public var maxResponseBytes = 1_048_576
        /// How many connections to one instance are open at once; further requests wait, at most `connectTimeout`.
        public var maxConnectionsPerEndpoint = 128

        public init(name: ServiceName) {
            self.name = name
        }
    }
}
