public import ParleyCore
public import ParleyResilience

extension ServiceClient {
    /// The limits of a client. Every wait has one.
    public struct Configuration: Sendable {
        /// Who calls: sent as `X-Service`.
        public var name: ServiceName
        /// What is done when services or instances fail.
        public var policy = ResiliencePolicy()
        /// How long opening a connection may take; also the wait for a free one of `maxConnectionsPerEndpoint`.
        public var connectTimeout: Duration = .seconds(2)
        /// The largest body of an answer, in bytes.
        public var maxResponseBytes = 1_048_576
        /// How many connections to one instance are open at once; further requests wait, at most `connectTimeout`.
        public var maxConnectionsPerEndpoint = 128

        public init(name: ServiceName) {
            self.name = name
        }

        /// How long a call may take with all its tries, when neither the caller nor the context has a deadline: the
        /// policy's `timeout`.
        public var timeout: Duration {
            get { self.policy.timeout }
            set { self.policy.timeout = newValue }
        }

        /// How long one try may take, from choosing an instance to the last byte of the answer: the policy's
        /// `attemptTimeout`, or a day if it has none.
        public var attemptTimeout: Duration {
            get { self.policy.attemptTimeout ?? .seconds(86_400) }
            set { self.policy.attemptTimeout = newValue }
        }

        /// How many tries a call has at most, 1 is none but the first: that of the policy's `retry`.
        public var maxAttempts: Int {
            get { self.policy.retry?.maxAttempts ?? 1 }
            set { self.policy.retry = self.changed { $0.maxAttempts = newValue } }
        }

        /// The waits between tries: those of the policy's `retry`.
        public var backoff: Backoff {
            get { (self.policy.retry ?? .never).backoff }
            set { self.policy.retry = self.changed { $0.backoff = newValue } }
        }

        private func changed(_ change: (inout RetryPolicy) -> Void) -> RetryPolicy {
            var retry = self.policy.retry ?? .never
            change(&retry)
            return retry
        }
    }
}
