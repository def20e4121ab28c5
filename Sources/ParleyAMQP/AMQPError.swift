public import ParleyCore

/// A failure of the client or an answer of the broker: what, whether trying again is safe, and what to do.
public struct AMQPError: RetryClassifiedError, CustomStringConvertible {
    public struct Code: Hashable, Sendable, CustomStringConvertible {
        private enum Kind: String {
            case accessRefused, noSuchVirtualHost, notAllowed, permissionDenied, notFound, resourceLocked
            case preconditionFailed, contentTooLarge, connectionForced, notImplemented, resourceError, brokerError
            case protocolViolation, cannotConnect, tls, heartbeatLost, connectionLost, closed, channelClosed
            case timedOut, blocked, nacked, returned, staleDelivery, alreadySettled, consumerCancelled
            case tooManyChannels, invalidArgument, credentialsUnavailable
        }

        private let kind: Kind
        public var description: String { self.kind.rawValue }

        /// 403 on the connection: wrong user, password or mechanism.
        public static let accessRefused = Code(kind: .accessRefused)
        /// 530 on opening: the virtual host is not there, or the user may not enter it.
        public static let noSuchVirtualHost = Code(kind: .noSuchVirtualHost)
        /// 530 later: a limit of the broker, such as its number of channels, was passed.
        public static let notAllowed = Code(kind: .notAllowed)
        /// 403 on a channel: the user lacks a permission, or a consumer holds the queue exclusively.
        public static let permissionDenied = Code(kind: .permissionDenied)
        /// 404: the queue or exchange is not there.
        public static let notFound = Code(kind: .notFound)
        /// 405: the queue is exclusive to another connection.
        public static let resourceLocked = Code(kind: .resourceLocked)
        /// 406: it is there with other arguments, is in use, or is not empty.
        public static let preconditionFailed = Code(kind: .preconditionFailed)
        /// 311, or over ``AMQPConfiguration/maximumMessageBytes``.
        public static let contentTooLarge = Code(kind: .contentTooLarge)
        /// 320: an operator, or the broker shutting down, closed the connection.
        public static let connectionForced = Code(kind: .connectionForced)
        /// 540: the broker cannot do that.
        public static let notImplemented = Code(kind: .notImplemented)
        /// 506: the broker ran out of something.
        public static let resourceError = Code(kind: .resourceError)
        /// 541, or a code the protocol does not name.
        public static let brokerError = Code(kind: .brokerError)
        /// One of the two sides did not keep to the protocol (501 to 505, or bytes that are no AMQP).
        public static let protocolViolation = Code(kind: .protocolViolation)
        /// The credentials provider failed; its error is the ``AMQPError/cause``.
        public static let credentialsUnavailable = Code(kind: .credentialsUnavailable)
        /// No connection could be made.
        public static let cannotConnect = Code(kind: .cannotConnect)
        /// The TLS handshake failed: a wrong certificate authority, name, or client certificate.
        public static let tls = Code(kind: .tls)
        /// Nothing came from the broker for two heartbeat intervals.
        public static let heartbeatLost = Code(kind: .heartbeatLost)
        /// The connection ended without a farewell.
        public static let connectionLost = Code(kind: .connectionLost)
        /// The connection was closed on this side, or never run.
        public static let closed = Code(kind: .closed)
        /// The channel was closed on this side, or by an earlier error, which is the ``AMQPError/cause``.
        public static let channelClosed = Code(kind: .channelClosed)
        /// No answer within its time.
        public static let timedOut = Code(kind: .timedOut)
        /// The broker blocks publishers (memory or disk alarm), and did for longer than a publish may wait.
        public static let blocked = Code(kind: .blocked)
        /// The broker refused a publish (`basic.nack`): for example a full queue with `reject-publish`.
        public static let nacked = Code(kind: .nacked)
        /// A mandatory message had no queue to go to; see ``AMQPError/returned``.
        public static let returned = Code(kind: .returned)
        /// The delivery came over a connection or channel that is gone; the broker delivers it again.
        public static let staleDelivery = Code(kind: .staleDelivery)
        /// The delivery has been acknowledged or rejected already, or never needed to be.
        public static let alreadySettled = Code(kind: .alreadySettled)
        /// The broker cancelled the consumer: its queue was deleted or moved.
        public static let consumerCancelled = Code(kind: .consumerCancelled)
        /// Every channel number that was agreed with the broker is in use.
        public static let tooManyChannels = Code(kind: .tooManyChannels)
        /// A value that the protocol cannot carry; nothing was sent.
        public static let invalidArgument = Code(kind: .invalidArgument)
    }

    public var code: Code
    /// What happened and what to do about it.
    public var message: String
    public var retry: RetrySafety
    /// The broker's own number, where it gave one.
    public var replyCode: UInt16?
    /// The message that came back, with ``Code/returned``.
    public var returned: AMQPReturnedMessage?
    public var cause: (any Error)?

    public init(
        _ code: Code,
        _ message: String,
        retry: RetrySafety = .permanent,
        replyCode: UInt16? = nil,
        returned: AMQPReturnedMessage? = nil,
        cause: (any Error)? = nil
    ) {
        self.code = code
        self.message = message
        self.retry = retry
        self.replyCode = replyCode
        self.returned = returned
        self.cause = cause
    }

    public var description: String {
        "\(self.code): \(self.message)" + (self.cause.map { " (\($0))" } ?? "")
    }
}

/// What the broker says about a mandatory message that it could not route.
public struct AMQPReturnedMessage: Sendable, Hashable {
    /// 312 is "no route".
    public var replyCode: UInt16
    public var replyText: String
    public var exchange: String
    public var routingKey: String
}

extension AMQPError {
    /// Where the broker said it: the same number means another thing on a channel.
    enum Place { case opening, connection, channel }

    /// The broker's answer in words.
    init(replyCode: UInt16, text: String, place: Place) {
        let (code, advice): (Code, String) =
            switch (replyCode, place) {
            case (403, .channel): (.permissionDenied, "grant the user the permission, or use another name")
            case (403, _): (.accessRefused, "check user, password and mechanism")
            case (530, .opening): (.noSuchVirtualHost, "create the virtual host, or grant the user access to it")
            case (530, _): (.notAllowed, "stay below the broker's limits")
            case (402, .opening), (404, .opening): (.noSuchVirtualHost, "create the virtual host")
            case (404, _): (.notFound, "declare it first")
            case (405, _): (.resourceLocked, "it belongs to another connection: wait until that is gone")
            // RabbitMQ's words for a message over its max_message_size; the protocol's own 311 it does not use.
            case (406, _) where text.hasPrefix("PRECONDITION_FAILED - message size"):
                (.contentTooLarge, "send less, or raise the broker's max_message_size")
            case (406, _): (.preconditionFailed, "use the arguments it was declared with, or another name")
            case (311, _): (.contentTooLarge, "send less, or raise the broker's max_message_size")
            case (320, _): (.connectionForced, "the client reconnects by itself")
            case (540, _): (.notImplemented, "this broker cannot do that")
            case (506, _): (.resourceError, "look at the broker's memory, disk and limits")
            case (501...505, _): (.protocolViolation, "report it as a defect of this client")
            default: (.brokerError, "look into the broker's log")
            }
        // An answer to a request says that it was not carried out; a connection's end says so about nothing.
        let retry: RetrySafety = place == .connection ? .mayHaveRun : .permanent
        self.init(code, "the broker answers \(replyCode) \(text): \(advice)", retry: retry, replyCode: replyCode)
    }

    init(_ wire: AMQPWireError) {
        switch wire {
        case .shortStringTooLong(let count):
            self.init(.invalidArgument, "a name has \(count) bytes, the protocol allows 255: shorten it")
        case .tooDeep: self.init(.invalidArgument, "a table is nested too deep: flatten it")
        case .tableTooLarge: self.init(.invalidArgument, "a value is too large for a table: put it into the body")
        case .otherProtocol:
            self.init(.protocolViolation, "the peer does not speak AMQP 0-9-1: check host and port", cause: wire)
        default:
            self.init(.protocolViolation, "the peer sent bytes that are no AMQP 0-9-1", retry: .mayHaveRun, cause: wire)
        }
    }

    /// The same failure for something else that it ended.
    func with(retry: RetrySafety) -> AMQPError {
        var error = self
        error.retry = retry
        return error
    }

    /// The same as the reason why a request was not even sent. What cannot change stays permanent.
    var beforeSending: AMQPError { self.retry == .permanent ? self : self.with(retry: .notSent) }

    static func closed(_ what: String) -> AMQPError {
        AMQPError(.closed, "\(what): the connection is closed", retry: .notSent)
    }
}
