internal import NIOCore

/// What the handlers of both roles have in common: they carry bytes between the channel and the machine, tell what has
/// happened, and gather what is written in one tick of the event loop into one flush.
///
/// Nothing is told to a consumer from within a call of its own: what a call brings about is told when the loop of the
/// current read goes on, or at the end of the tick.
class HTTP2Handler: ChannelDuplexHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    final var connection: HTTP2Connection
    final private(set) var context: ChannelHandlerContext?
    /// How often something was handed to the socket.
    final private(set) var flushes: UInt64 = 0
    /// When the last bytes came.
    final private(set) var lastRead = NIODeadline.uptimeNanoseconds(0)

    private var isWorking = false
    private var isTickScheduled = false
    private var isReadHeld = false
    private var isClosing = false
    /// Made once: a closure for each tick would be an allocation for each.
    private var tick: (@Sendable () -> Void)?
    private var timer: Scheduled<Void>?
    private var timerDeadline = NIODeadline.distantFuture

    init(_ role: HTTP2Connection.Role, configuration: HTTP2Configuration) {
        self.connection = HTTP2Connection(role, configuration: configuration)
    }

    // MARK: For the roles

    func handle(_ event: HTTP2Event) {}
    /// Everything that was there has been told, and what was written is on its way. Comes often; what it changes is
    /// told and written before the tick ends.
    func settled(now: NIODeadline) {}
    /// The channel is gone.
    func gone() {}
    /// The moment of ``arm(_:)`` has come, or an earlier one.
    func timerFired(now: NIODeadline) {}
    func started(now: NIODeadline) {}

    final var isGone: Bool { self.context == nil }

    final var now: NIODeadline { self.context?.eventLoop.now ?? .uptimeNanoseconds(0) }

    /// To be called after each change to ``connection`` from outside of ``handle(_:)``.
    final func scheduleTick() {
        guard !self.isWorking, !self.isTickScheduled, let context = self.context, let tick = self.tick else { return }
        self.isTickScheduled = true
        context.eventLoop.execute(tick)
    }

    /// Makes sure that ``timerFired(now:)`` is called at this time, or earlier.
    final func arm(_ deadline: NIODeadline) {
        guard let context = self.context, self.timer == nil || deadline < self.timerDeadline else { return }
        self.timer?.cancel()
        self.timerDeadline = deadline
        let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
        self.timer = context.eventLoop.scheduleTask(deadline: deadline) { bound.value.fire() }
    }

    private func fire() {
        self.timer = nil
        guard self.context != nil else { return }
        self.timerFired(now: self.now)
        self.work()
    }

    /// Closes once all that was written has left. To be called again while the socket takes nothing.
    final func closeWhenFlushed() {
        guard !self.isClosing else { return }
        self.flush()
        guard self.connection.output.byteCount == 0, let context = self.context else { return }
        self.isClosing = true
        let written = context.eventLoop.makePromise(of: Void.self)
        let channel = context.channel
        written.futureResult.whenComplete { _ in channel.close(promise: nil) }
        context.writeAndFlush(self.wrapOutboundOut(ByteBuffer()), promise: written)
    }

    final func closeNow() {
        guard !self.isClosing else { return }
        self.abandon()
    }

    /// Closes even if it was to be closed gently.
    final func abandon() {
        self.isClosing = true
        self.context?.close(promise: nil)
    }

    // MARK: The channel

    final func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
        self.tick = { bound.value.ticked() }
        if context.channel.isActive { self.start() }
    }

    final func handlerRemoved(context: ChannelHandlerContext) { self.stop() }

    final func channelActive(context: ChannelHandlerContext) {
        self.start()
        context.fireChannelActive()
    }

    final func channelInactive(context: ChannelHandlerContext) {
        self.stop()
        context.fireChannelInactive()
    }

    final func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // Of the socket or of TLS: nothing that comes after it can be trusted.
        context.close(promise: nil)
    }

    final func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if let event = event as? ChannelEvent, event == .inputClosed {
            context.close(promise: nil)
        } else {
            context.fireUserInboundEventTriggered(event)
        }
    }

    final func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        self.lastRead = context.eventLoop.now
        self.connection.receive(self.unwrapInboundIn(data))
        guard !self.isWorking else { return }
        self.isWorking = true
        self.tell()
        self.isWorking = false
        // The flush follows in channelReadComplete, unless a peer that does not let us get there fills our memory.
        if self.connection.isBackedUp { self.work() }
    }

    final func channelReadComplete(context: ChannelHandlerContext) {
        self.work()
        context.fireChannelReadComplete()
    }

    final func channelWritabilityChanged(context: ChannelHandlerContext) {
        if self.isWorking {
            self.connection.socketIsWritable(context.channel.isWritable)
        } else {
            self.work()
        }
        context.fireChannelWritabilityChanged()
    }

    final func read(context: ChannelHandlerContext) {
        if self.connection.isBackedUp { self.isReadHeld = true } else { context.read() }
    }

    // MARK: Work

    private func start() {
        self.lastRead = self.now
        self.started(now: self.lastRead)
        self.work()
    }

    private func stop() {
        guard self.context != nil else { return }
        self.context = nil
        self.tick = nil
        self.timer?.cancel()
        self.timer = nil
        self.gone()
    }

    private func ticked() {
        self.isTickScheduled = false
        self.work()
    }

    private func tell() {
        let now = self.now
        while let event = self.connection.next(now: now) {
            self.handle(event)
            guard self.context != nil else { return }
        }
    }

    private func work() {
        guard !self.isWorking, self.context != nil else { return }
        self.isWorking = true
        defer { self.isWorking = false }
        repeat {
            self.tell()
            self.flush()
            if self.context != nil { self.settled(now: self.now) }
        } while self.context != nil && !self.isClosing && self.hasMore
        guard let context = self.context else { return }
        if self.isReadHeld, !self.connection.isBackedUp {
            self.isReadHeld = false
            context.read()
        }
    }

    private var hasMore: Bool {
        !self.connection.events.isEmpty || self.connection.canWrite && self.connection.output.byteCount > 0
    }

    /// Hands what was written to the socket, if it takes anything.
    final func flush() {
        while let context = self.context, context.channel.isWritable || self.connection.failure != nil {
            var hasWritten = false
            while let piece = self.connection.takeOutput() {
                context.write(self.wrapOutboundOut(piece), promise: nil)
                hasWritten = true
            }
            if hasWritten {
                self.flushes &+= 1
                context.flush()
            }
            // A body that waited for the socket goes on.
            self.connection.socketIsWritable(context.channel.isWritable)
            guard self.connection.output.byteCount > 0, self.connection.failure == nil else { return }
        }
        if self.context != nil { self.connection.socketIsWritable(false) }
    }
}
