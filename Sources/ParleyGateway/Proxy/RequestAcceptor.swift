/// Takes the requests of one connection, whatever protocol it speaks.
protocol RequestAcceptor: AnyObject {
    /// A request begins. The stream is told nothing before this returns.
    func accept(_ head: RequestHead, stream: any ClientStream) -> any RequestReceiver
    /// What came is no request. It is answered, if it can be, and the connection ends behind it.
    func refuse(_ refusal: HeadRefusal, method: Method, stream: any ClientStream)
    /// HTTP/2: the client took a request back.
    func streamReset()
    /// HTTP/2: the connection ends because the client broke a rule or a limit.
    func ruleBroken()
}

extension RequestAcceptor {
    func streamReset() {}
    func ruleBroken() {}
}
