internal import NIOCore
internal import ParleyCore
internal import Synchronization

/// Ends the wait of a question whose client has closed its connection: a client that comes and goes must not leave
/// questions behind that wait for minutes.
final class ClientWatch: ChannelInboundHandler, RemovableChannelHandler, Sendable {
    typealias InboundIn = NIOAny

    private let waiter: Mutex<Waiter?>

    private init(_ waiter: Waiter) { self.waiter = Mutex(waiter) }

    /// Watches the connection for `waiter`, in place of the waiter before it.
    static func watch(_ channel: any Channel, _ waiter: Waiter) async {
        do {
            try await channel.eventLoop.submit {
                let pipeline = channel.pipeline.syncOperations
                if let handler = try? pipeline.handler(type: ClientWatch.self) {
                    handler.waiter.withLock { $0 = waiter }
                } else {
                    // Next to the socket: the handlers above hold such events back while an answer is due.
                    try pipeline.addHandler(ClientWatch(waiter), position: .first)
                }
                if !channel.isActive { waiter.abandon() }
            }.get()
        } catch {
            waiter.abandon()
        }
    }

    private func gone() { self.waiter.withLock { $0.take() }?.abandon() }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case ChannelEvent.inputClosed? = event as? ChannelEvent { self.gone() }
        context.fireUserInboundEventTriggered(event)
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.gone()
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        self.gone()
        context.fireErrorCaught(error)
    }
}
