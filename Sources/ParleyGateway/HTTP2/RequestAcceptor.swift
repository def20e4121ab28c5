/// What takes requests, of either protocol: it makes the exchange for one and says to whom the rest of it is told.
protocol RequestAcceptor: AnyObject {
    /// Called on the event loop of the connection. The stream may be written and asked at once; nothing is told to the
    /// receiver before this returns.
    func accept(_ head: RequestHead, stream: any ClientStream) -> any RequestReceiver
}
