internal import NIOCore

/// Takes the place of a client that has gone while its work goes on: the next try is told what has come of it.
final class DiscardingStream: ClientStream {
    let eventLoop: any EventLoop
    let isWritable = true

    init(_ eventLoop: any EventLoop) {
        self.eventLoop = eventLoop
    }

    func writeInformational(_ head: ResponseHead) {}
    func write(_ head: ResponseHead, isEnd: Bool) {}
    func write(_ body: ByteBuffer) {}
    func end(trailers: FieldBlock?) {}
    func abort(_ reason: AbortReason) {}
    func readBody() {}
}
