public import ParleyCore
public import ParleyDiscovery

extension ConsulRegistrar {
    /// How an instance is doing.
    public struct Health: Sendable, Hashable {
        public var status: HealthStatus
        /// Why, for people; the first 2,000 characters are sent.
        public var note: String

        public init(_ status: HealthStatus, note: String = "") {
            self.status = status
            self.note = note
        }

        public static let passing = Health(.passing)
    }

    /// Who finds out how an instance is doing.
    public struct Check: Sendable {
        enum Kind: Sendable {
            case ttl(Duration)
            case made(@Sendable (ServiceInstance) -> Consul.CheckDefinition)
        }

        let kind: Kind

        /// The instance says so itself, three times in `duration`; when it falls silent it is critical.
        public static func ttl(_ duration: Duration) -> Check { Check(kind: .ttl(max(duration, .seconds(1)))) }

        /// The agent asks `http://host:port/path`.
        public static func http(path: String = "/health/ready", every interval: Duration = .seconds(10)) -> Check {
            .made { instance in
                let slash = path.hasPrefix("/") ? "" : "/"
                return Consul.CheckDefinition(.http(url: "http://\(instance.endpoint)\(slash)\(path)"), every: interval)
            }
        }

        /// The agent opens a connection.
        public static func tcp(every interval: Duration = .seconds(10)) -> Check {
            .made { Consul.CheckDefinition(.tcp(address: $0.endpoint.description), every: interval) }
        }

        /// The agent asks by gRPC's health protocol, for one service or for the whole server.
        public static func grpc(service: String? = nil, every interval: Duration = .seconds(10)) -> Check {
            .made { instance in
                let address = instance.endpoint.description + (service.map { "/" + $0 } ?? "")
                return Consul.CheckDefinition(.grpc(address: address), every: interval)
            }
        }

        /// Any other check that the agent makes; its id, first status and `deregisterAfter` are set here.
        public static func made(_ check: @escaping @Sendable (ServiceInstance) -> Consul.CheckDefinition) -> Check {
            Check(kind: .made(check))
        }
    }

    /// How instances are registered.
    public struct Configuration: Sendable {
        public var check = Check.ttl(.seconds(15))
        /// With ``Check/ttl(_:)``: asked before each sign of life. It must end when its task is cancelled; while it
        /// does not answer, there is no sign of life.
        public var health: @Sendable (ServiceInstance) async -> Health = { _ in .passing }
        /// How long an instance may be critical before Consul forgets it, so that the dead do not pile up; an instance
        /// that lives after all registers again. Consul takes at least a minute. `nil` for never.
        public var deregisterCriticalAfter: Duration? = .seconds(120)
        /// How much an instance gets compared with others; `nil` for 1.
        public var weights: Consul.Weights?
        /// With checks that the agent makes: how often it is asked whether it still knows the instance.
        public var presenceInterval: Duration = .seconds(10)
        /// After failures, though never longer than between two signs of life.
        public var backoff = Backoff(initial: .milliseconds(250), cap: .seconds(10), jitter: 0.5)
        /// How long ``ConsulRegistrar/register(_:)`` waits for the agent before it leaves the rest to
        /// ``ConsulRegistrar/run()``.
        public var registerTimeout: Duration = .seconds(5)
        /// How long an instance that leaves tries to tell the agent.
        public var deregisterTimeout: Duration = .seconds(5)
        /// How many instances one registrar keeps; one more is refused.
        public var maximumInstances = 1_024

        public init() {}

        var rules: RegistrationMachine.Rules {
            let beat =
                switch self.check.kind {
                case .ttl(let duration): duration / 3
                case .made: max(self.presenceInterval, .milliseconds(100))
                }
            return RegistrationMachine.Rules(beat: beat, backoff: self.backoff)
        }

        /// Signs of life go to a check with this id; it is the one that Consul would choose.
        static func checkID(of id: ServiceInstance.ID) -> String { "service:\(id)" }

        func registration(of instance: ServiceInstance, health: Health) -> Consul.Registration {
            var check: Consul.CheckDefinition
            switch self.check.kind {
            case .ttl(let duration):
                check = Consul.CheckDefinition(.ttl(duration))
                // Consul would begin with critical, and the instance be without requests until the next sign of life.
                check.status = health.status
            case .made(let make): check = make(instance)
            }
            check.id = Self.checkID(of: instance.id)
            check.deregisterAfter = self.deregisterCriticalAfter
            return Consul.Registration(
                name: instance.service.description,
                id: instance.id,
                address: instance.endpoint.host,
                port: instance.endpoint.port,
                tags: instance.tags,
                meta: instance.registeredMetadata,
                weights: self.weights,
                checks: [check]
            )
        }
    }
}
