internal import HTTPTypes
internal import NIOCore
internal import NIOHTTPTypes

/// Ends connections without cutting off answers. It sits between the HTTP codec and Hummingbird's handlers.
///
/// - An answer that was given before its request was read to the end (413, 401) is followed by a bounded time and
///   amount of further body, so that the client reads the answer before it sees the connection close.
/// - An answer with `Connection: close` closes the connection once it is written.
/// - A close that comes while the end of an answer is still being written waits for it.
final class ConnectionEndHandler: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPRequestPart
    typealias InboundOut = HTTPRequestPart
    typealias OutboundIn = HTTPResponsePart
    typealias OutboundOut = HTTPResponsePart

    /// Close at once, also in the middle of an answer.
    struct CloseNow: Sendable {
        /// How long an answer may take that has not been begun yet, from its first byte on; `nil` does not wait for it.
        /// It cannot be counted from now on: how soon cancelled work answers depends on how busy the machine is.
        var answerTime: Duration?
    }

    private let maxLingerBytes: Int
    private let lingerTime: TimeAmount
    private let connections: ListenerState

    // With pipelining the next requests may have been read already: only the counts say whether an answered request was
    // complete.
    private var requestsBegun = 0
    private var requestsRead = 0
    private var answersBegun = 0
    private var answersWritten = 0
    private var endsBeingWritten = 0
    private var lingeredBytes = 0
    private var lingerTimer: Scheduled<Void>?
    private var closesAfterAnswer = false
    private var delayedClose: (mode: CloseMode, promise: EventLoopPromise<Void>?)?
    /// Set while a `CloseNow` waits for the answer that is due.
    private var lastAnswer: (time: TimeAmount, promise: EventLoopPromise<Void>?)?
    private var lastAnswerTimer: Scheduled<Void>?

    init(maxLingerBytes: Int, lingerTime: Duration, connections: ListenerState) {
        self.maxLingerBytes = maxLingerBytes
        self.lingerTime = TimeAmount(lingerTime)
        self.connections = connections
    }

    func handlerAdded(context: ChannelHandlerContext) { self.connections.opened(context.channel) }

    func handlerRemoved(context: ChannelHandlerContext) { self.ended(context) }

    func channelInactive(context: ChannelHandlerContext) {
        self.ended(context)
        context.fireChannelInactive()
    }

    private func ended(_ context: ChannelHandlerContext) {
        self.lingerTimer?.cancel()
        self.lingerTimer = nil
        self.lastAnswerTimer?.cancel()
        self.lastAnswerTimer = nil
        self.lastAnswer.take()?.promise?.succeed(())
        self.connections.closed(context.channel)
    }

    /// The current request has been answered, and there is more of it to come.
    private var isLingering: Bool { self.answersWritten > self.requestsRead }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch self.unwrapInboundIn(data) {
        case .head:
            self.requestsBegun += 1
        case .body(let buffer):
            if self.isLingering {
                self.lingeredBytes += buffer.readableBytes
                if self.lingeredBytes > self.maxLingerBytes {
                    context.close(promise: nil)
                    return
                }
            }
        case .end:
            let wasLingering = self.isLingering
            self.requestsRead += 1
            if wasLingering, !self.isLingering { self.lingered(context) }
        }
        context.fireChannelRead(data)
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        switch self.unwrapOutboundIn(data) {
        case .head(let head):
            if head.status.kind != .informational {
                self.answersBegun += 1
                if head.headerFields[.connection]?.lowercased() == "close" { self.closesAfterAnswer = true }
                if let lastAnswer { self.limitLastAnswer(to: lastAnswer.time, context) }
            }
            context.write(data, promise: promise)
        case .body:
            context.write(data, promise: promise)
        case .end:
            let promise = promise ?? context.eventLoop.makePromise(of: Void.self)
            let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
            self.endsBeingWritten += 1
            promise.futureResult.whenComplete { _ in
                let (handler, context) = bound.value
                handler.endWritten(context)
            }
            context.write(data, promise: promise)
        }
    }

    private func endWritten(_ context: ChannelHandlerContext) {
        self.endsBeingWritten -= 1
        self.answersWritten += 1
        guard self.endsBeingWritten == 0 else { return }
        if let close = self.delayedClose {
            self.delayedClose = nil
            context.close(mode: close.mode, promise: close.promise)
        } else if self.isLingering {
            self.linger(context)
        } else if self.closesAfterAnswer {
            context.close(promise: nil)
        }
    }

    private func linger(_ context: ChannelHandlerContext) {
        self.lingeredBytes = 0
        let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
        self.lingerTimer = context.eventLoop.scheduleTask(in: self.lingerTime) {
            bound.value.close(promise: nil)
        }
    }

    private func limitLastAnswer(to time: TimeAmount, _ context: ChannelHandlerContext) {
        guard self.lastAnswerTimer == nil else { return }
        let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
        self.lastAnswerTimer = context.eventLoop.scheduleTask(in: time) {
            // Past our own `close`, which would wait for the end of the answer.
            bound.value.close(mode: .all, promise: nil)
        }
    }

    private func lingered(_ context: ChannelHandlerContext) {
        self.lingerTimer?.cancel()
        self.lingerTimer = nil
        if self.closesAfterAnswer { context.close(promise: nil) }
    }

    func close(context: ChannelHandlerContext, mode: CloseMode, promise: EventLoopPromise<Void>?) {
        if self.endsBeingWritten > 0, mode == .all, self.delayedClose == nil {
            self.delayedClose = (mode, promise)
        } else {
            context.close(mode: mode, promise: promise)
        }
    }

    func triggerUserOutboundEvent(
        context: ChannelHandlerContext,
        event: Any,
        promise: EventLoopPromise<Void>?
    ) {
        guard let event = event as? CloseNow else {
            context.triggerUserOutboundEvent(event, promise: promise)
            return
        }
        if let time = event.answerTime, self.requestsBegun > self.answersBegun, self.lastAnswer == nil {
            self.lastAnswer = (TimeAmount(time), promise)
            return
        }
        context.close(mode: .all, promise: nil)
        promise?.succeed(())
    }
}
