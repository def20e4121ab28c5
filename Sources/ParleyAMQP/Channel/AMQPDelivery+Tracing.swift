public import ServiceContextModule
internal import Tracing

extension AMQPDelivery {
    /// The sender's trace, read from the message's headers by the instrument that is bootstrapped; `base` without one.
    ///
    ///     try await withSpan("process orders", context: delivery.serviceContext(), ofKind: .consumer) { _ in … }
    public func serviceContext(on base: ServiceContext = .topLevel) -> ServiceContext {
        var context = base
        if let headers = self.properties.headers {
            InstrumentationSystem.instrument.extract(headers, into: &context, using: HeaderAccess())
        }
        return context
    }
}
