internal import GRPCCore
public import GRPCNIOTransportHTTP2Posix
internal import NIOCore
public import ParleyCore
public import ParleyDiscovery

/// Lets any gRPC client of the library find its servers by a ``ParleyDiscovery/ServiceResolver``.
///
/// ```swift
/// var registry = NameResolverRegistry.defaults
/// registry.registerFactory(ServiceNameResolver(resolver: consul))
/// let transport = try HTTP2ClientTransport.Posix(
///     target: .service("user-service"),
///     transportSecurity: .plaintext,
///     resolverRegistry: registry,
///     serviceConfig: ServiceConfig(loadBalancingConfig: [.roundRobin])
/// )
/// ```
///
/// The resolver is asked each `interval`; a change reaches the channel within that. While it answers with nothing, or
/// not at all, the channel keeps the instances that it knows. Such a client has the library's own balancing and none of
/// the policies of ``GRPCServiceClient``.
public struct ServiceNameResolver: NameResolverFactory {
    public typealias Target = ServiceTarget

    private let resolver: any ServiceResolver
    private let interval: Duration
    private let time: any TimeSource

    public init(
        resolver: any ServiceResolver,
        interval: Duration = .seconds(1),
        time: any TimeSource = SystemTimeSource()
    ) {
        self.resolver = resolver
        self.interval = interval
        self.time = time
    }

    public func resolver(for target: ServiceTarget) -> NameResolver {
        let updates = Updates(
            resolver: self.resolver,
            service: target.service,
            interval: self.interval,
            time: self.time
        )
        return NameResolver(
            names: RPCAsyncSequence(wrapping: updates),
            updateMode: .push,
            authority: target.service.description
        )
    }

    /// Where the instances of a service are, each time that changes.
    private struct Updates: AsyncSequence, Sendable {
        typealias Element = NameResolutionResult

        let resolver: any ServiceResolver
        let service: ServiceName
        let interval: Duration
        let time: any TimeSource

        func makeAsyncIterator() -> Iterator { Iterator(updates: self) }

        struct Iterator: AsyncIteratorProtocol {
            let updates: Updates
            var told: Set<GRPCNIOTransportHTTP2Posix.SocketAddress>?

            mutating func next() async throws -> NameResolutionResult? {
                while true {
                    let addresses = try await self.updates.addresses()
                    if let addresses, Set(addresses) != self.told {
                        self.told = Set(addresses)
                        return NameResolutionResult(
                            endpoints: addresses.map { GRPCNIOTransportHTTP2Posix.Endpoint(addresses: [$0]) },
                            serviceConfig: nil
                        )
                    }
                    try await self.updates.time.sleep(for: self.updates.interval)
                }
            }
        }

        /// `nil` where the channel should keep what it knows.
        private func addresses() async throws -> [GRPCNIOTransportHTTP2Posix.SocketAddress]? {
            let instances: [ServiceInstance]
            do { instances = try await self.resolver.resolve(self.service) } catch {
                if Task.isCancelled { throw CancellationError() }
                return nil
            }
            let addresses = instances.compactMap { instance -> GRPCNIOTransportHTTP2Posix.SocketAddress? in
                instance.grpcEndpoint.flatMap { Self.address($0.host, $0.port) }
            }
            return addresses.isEmpty ? nil : addresses
        }

        /// Host names are for ``GRPCServiceClient``, which looks them up.
        private static func address(_ host: String, _ port: Int) -> GRPCNIOTransportHTTP2Posix.SocketAddress? {
            let host = host == "localhost" ? "127.0.0.1" : host
            switch try? NIOCore.SocketAddress(ipAddress: host, port: port) {
            case .v4: return .ipv4(host: host, port: port)
            case .v6: return .ipv6(host: host, port: port)
            default: return nil
            }
        }
    }
}

/// A service by its name, for ``ServiceNameResolver``.
public struct ServiceTarget: ResolvableTarget {
    public var service: ServiceName

    public init(_ service: ServiceName) {
        self.service = service
    }
}

extension ResolvableTarget where Self == ServiceTarget {
    /// The instances of `service`, wherever they are.
    public static func service(_ service: ServiceName) -> ServiceTarget { ServiceTarget(service) }
}
